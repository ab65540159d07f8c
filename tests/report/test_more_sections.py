"""Sections of `mmjax report`: what is in them, and that everybody can read them."""

import base64
import importlib.resources
import io
import re
import wave

import numpy as np
import PIL.Image
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve
from test_report import Page, contents

from mmjax.api.example_media import wav
from mmjax.core.errors import DataError
from mmjax.metrics.scores import precision_recall
from mmjax.report import EmbeddingMap, Example, Explained, Seen, Slice, compiled
from mmjax.report.html import facts
from mmjax.report.page import render
from mmjax.report.precision_recall import area


def _png():
    stream = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), (200, 10, 10)).save(stream, "PNG")
    return stream.getvalue()


def _compared(*means, chance):
    groups = [{"name": n, "rows": 12, "mean": m, "interval": (m - 0.1, m + 0.1)} for n, m in means]
    gap = means[0][1] - means[-1][1]
    return {"groups": groups, "gap": gap, "interval": (0.1, 0.5), "chance": chance}


@pytest.fixture(scope="module")
def page():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    dots = [Seen(i, f"text <{i}>", picture if i % 2 else None) for i in range(6)]
    colours = {"label": ["a", "b", "b", "b", "a", "c"], "answer": ["right"] * 5 + ["wrong"]}
    more = contents(
        presence={"text": {"train": (90, 100), "test": (10, 10)}, "image": {"train": (50, 100)}},
        leaks=["3 test rows (30.0%) have the same image as a training row, as a:1 and a:2"],
        data_summary={"rows": 110, "labels": {"kind": {"train": {"<x>": 7}, "test": {"<x>": 3}}}},
        slices=[
            Slice("place", "<sea>", 12, 0.25, (0.1, 0.3)),
            Slice("place", "land", 50, 0.9, (0.85, 0.95)),
            Slice("size", "small", 9, 0.5),
        ],
        subgroups={
            "split": "test",
            "rows": 30,
            "metric": "accuracy",
            "columns": {
                "place": {
                    "left_out": 3,
                    "accuracy": _compared(("<land>", 0.9), ("sea", 0.6), chance=0.012),
                    "overconfidence": _compared(("sea", 0.2), ("<land>", -0.05), chance=0.3),
                    "ece": {"sea": 0.21, "<land>": 0.07},
                }
            },
        },
        metric_intervals={"fused": {"macro_f1": (0.111, 0.999)}},
        precision_recall={"a&b": (np.array([0.5, 1.0]), np.array([1.0, 0.75]))},
        maps=[EmbeddingMap("A <map>", rng.normal(size=(6, 2)), dots, colours, "how")],
        costs={"examples a second, median": 1234.0, "seconds of compiling": 5.5},
        examples=[
            Example(
                row=3,
                prediction="a",
                label="b",
                loss=2.25,
                sounds={"bark": wav(np.sin(np.arange(800)), 8000)},
                explanations=[Explained("shapley", "text +0.4", _png())],
            ),
            Example(row=4, prediction="a", label="b", loss=4.5),
        ],
        paired="<p>paired</p>",
    )
    text = render(more)
    return Page(text), text


def test_every_section_is_there(page):
    found, _ = page
    ids = [a["id"] for t, a in found.tags if t == "section"]
    assert {"paired", "precision-recall", "slices", "map", "costs"} <= set(ids)
    data = found.section("data")
    assert data[data.index("text") : data.index("text") + 4] == ["text", "90", "10", "9.1%"]
    assert data[data.index("image") : data.index("image") + 4] == ["image", "50", "-", "50.0%"]
    assert data[data.index("<x>") : data.index("<x>") + 3] == ["<x>", "7", "3"]
    assert any("3 test rows (30.0%)" in one for one in data)
    assert "0.111 to 0.999" in found.section("models")
    assert "1,234" in found.section("costs")


def test_tables_are_named_and_their_rows_have_heads():
    text = render(
        contents(
            robustness={
                "rows": 3,
                "split": "test",
                "levels": [0, 1],
                "curves": {
                    "<x>/noise": {"<m>": {"scores": [0.5, None], "relative_robustness": 0.4}}
                },
            }
        )
    )
    assert '<th scope="row">&lt;x&gt;/noise</th>' in text
    assert '<td class="n">-</td>' in text
    assert 'aria-label="&lt;m&gt;, &lt;x&gt; made worse"' in text
    assert 'aria-label="table"' not in text
    assert ">Rows by &lt;b&gt;</caption>" in facts({"rows_by_<b>": {"a": {"x": 1}}})


def test_a_compiled_step_has_named_tables_in_the_colours_of_the_page():
    step = {
        "topology": "v5e:2x2",
        "settings": [],
        "fits": False,
        "needed": 3,
        "limit": 2,
        "memory": {"arguments": 2},
        "mesh": {"data": 4},
        "roofline": None,
        "devices": 4,
        "batch_size": 8,
        "micro_batches": 1,
        "flops": 1.0,
        "model_flops": 1.0,
        "bytes_moved": None,
        "seconds": 1.0,
        "collectives": [],
        "assumed": [],
        "advice": [],
        "buffers": [(1, "f32[1]", "here")],
        "remat": {},
    }
    text = compiled.page("<config>", [step])
    assert "<h1>Compiled: &lt;config&gt;</h1>" in text
    found = Page(text)
    names = [a["aria-label"] for _, a in found.tags if a.get("class") == "scroll"]
    assert len(set(names)) == len(names) == 3
    assert '<th scope="row">arguments</th>' in text
    fills = [a["fill"] for t, a in found.tags if t == "rect"]
    assert fills == ["var(--accent)", "var(--bad)", "var(--muted)"]


def test_plots_say_where_their_curves_begin_and_end(page):
    found, _ = page
    told = [a["aria-label"] for t, a in found.tags if t == "svg"]
    assert any(one.startswith("Loss over steps: train/loss from 1 to 0.0101") for one in told), told


def test_slices_whose_interval_leaves_out_the_whole_are_marked(page):
    found, _ = page
    shown = found.section("slices")
    sea = shown.index("<sea>")
    assert shown[sea : sea + 5] == ["<sea>", "12", "0.250", "0.100 to 0.300", "worse"]
    land = shown.index("land")
    assert shown[land + 4] == "better"
    small = shown.index("small")
    assert shown[small : small + 4] == ["small", "9", "0.500", "-"]


def test_groups_stand_beside_their_gaps(page):
    shown = page[0].section("subgroups")
    land, sea = shown.index("<land>"), shown.index("sea")
    assert shown[land + 1 : sea] == [
        *("12", "0.900", "0.800 to 1.000", "-0.050", "-0.150 to +0.050", "0.070")
    ]
    lines = [one for one in shown if one.startswith("Gap in ")]
    assert lines == [
        "Gap in accuracy by place: 0.300 (0.100 to 0.500), <land> to sea, chance 0.012.",
        "Gap in overconfidence by place: 0.250 (0.100 to 0.500), sea to <land>, chance 0.300.",
    ]
    assert any("3 rows have no value" in one for one in shown)


def test_errors_are_sorted_by_loss_and_have_sounds_and_explanations(page):
    found, text = page
    rows = [one for one in found.section("examples") if one.startswith("row")]
    assert rows == ["row 4 · loss 4.50", "row 3 · loss 2.25"]
    (sound,) = [a for t, a in found.tags if t == "audio"]
    assert sound["aria-label"] == "bark of row 3"
    data = base64.b64decode(sound["src"].removeprefix("data:audio/wav;base64,"))
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (8000, 800, 1)
    assert "media-src data:" in text
    assert "shapley" in found.section("examples")
    assert "text +0.4" in found.section("examples")


def test_a_dot_shows_its_row_without_a_script(page):
    found, text = page
    dots = [a for t, a in found.tags if t == "label" and "dot-at" in a.get("class", "").split()]
    inputs = [a for t, a in found.tags if t == "input" and a["name"] == "map-0-dots"]
    assert len(dots) == len(inputs) == 6
    named = {a["aria-label"].partition(";")[0]: i for i, a in enumerate(inputs)}
    order = [named[f"row {row}: text <{row}>"] for row in range(6)]
    assert inputs[order[1]]["aria-label"] == "row 1: text <1>; label b, answer right"
    colours = [re.findall(r"k0c(\d+)", dots[i]["class"]) for i in order]
    assert colours == [["1"], ["0"], ["0"], ["0"], ["1"], ["2"]]
    assert found.section("map").count("text <1>") == 1
    assert "<script" not in text
    radios = [a["id"] for t, a in found.tags if t == "input" and "id" in a]
    assert radios == [a["for"] for t, a in found.tags if t == "label" and "for" in a]


def test_the_dots_are_one_stop_of_the_tab_key_and_go_from_left_to_right(page):
    found, _ = page
    assert not [a for _, a in found.tags if "tabindex" in a and "dot-at" in a.get("class", "")]
    dots = [a for t, a in found.tags if t == "input" and a["name"] == "map-0-dots"]
    assert {a["type"] for a in dots} == {"radio"}  # the arrow keys go through these
    places = [a["style"] for t, a in found.tags if "dot-at" in a.get("class", "").split()]
    lefts = [float(re.search(r"left:([\d.]+)%", one)[1]) for one in places]
    assert lefts == sorted(lefts)


def test_everybody_can_read_it(page):
    found, _ = page
    for tag, attributes in found.tags:
        if tag == "img":
            assert "alt" in attributes
        if tag == "th":
            assert attributes.get("scope") in ("row", "col"), attributes
        if tag == "section":
            assert attributes["aria-labelledby"] == f"{attributes['id']}-title"
    assert found.count("caption") == found.count("table")
    tables = [a for t, a in found.tags if a.get("class") == "scroll"]
    assert all(a["aria-label"] and a["tabindex"] == "0" for a in tables)
    # The landmarks are the sections: a region a table would drown them.
    assert not [a for _, a in found.tags if a.get("role") == "region"]
    signs = [a["aria-label"] for _, a in found.tags if "mark" in a.get("class", "").split()]
    assert set(signs) == {"wrong"}
    assert [a["aria-label"] for t, a in found.tags if t == "article"] == ["row 4", "row 3"]
    titles = {a["id"] for t, a in found.tags if t == "h2"}
    assert {f"{a['id']}-title" for t, a in found.tags if t == "section"} == titles
    targets = {a["id"] for _, a in found.tags if "id" in a}
    links = [a["href"][1:] for t, a in found.tags if t == "a"]
    assert set(links) <= targets


def test_colours_are_told_apart_from_the_page():
    """Contrast of WCAG 2.1: 4.5 for text, 3 for dots, in light and dark."""
    style = _style()
    for scheme in re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]:
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        for name in ("ink", "muted", "accent", "good", "bad"):
            for under in ("page", "card"):
                assert _contrast(colour[name], colour[under]) >= 4.5, (name, under)
        for i in range(11):
            assert _contrast(colour[f"p{i}"], colour["page"]) >= 3, i


def test_paper_has_light_colours_and_everything_that_is_folded():
    style = _style()
    # Dark colours are of screens alone: no variable of them is left over in print.
    assert re.findall(r"@media ([^{]*dark[^{]*) \{", style) == [
        "screen and (prefers-color-scheme: dark)"
    ]
    printed = style[style.index("@media print") :]
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style.partition("}")[0]))
    for name in ("accent", "good", "bad", *(f"p{i}" for i in range(11))):
        assert _contrast(light[name], "#ffffff") >= 3, name
    assert "color-scheme: light;" in printed
    assert "details::details-content { content-visibility: visible;" in printed
    # A short table stays on one page, and nothing that is cut short on a screen is on paper.
    assert "table:not(:has(tbody tr:nth-child(13))) { break-inside: avoid; }" in printed
    assert ".results th" in re.search(r"\n(.*)\{ white-space: normal; overflow-wrap", printed)[1]


def test_the_page_heeds_what_people_ask_of_their_screens():
    style = _style()
    assert "(prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }" in style
    assert style.count("scroll-behavior") == 1
    assert "@media (forced-colors: active)" in style
    # Contents that are longer than the window scroll, so that no link is out of reach.
    assert "max-height: 100vh; overflow-y: auto;" in re.search(r"\nnav \{(.*)\}", style)[1]
    assert ".dot-at:has(:focus-visible) { outline:" in style


def _style():
    return (importlib.resources.files("mmjax.report") / "page.css").read_text()


def _contrast(a, b):
    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_precision_and_recall_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.random(50) < 0.3
    scores = np.round(rng.random(50) + 0.4 * truth, 1)
    recall, precision = precision_recall(scores, truth)
    theirs = precision_recall_curve(truth, scores)
    np.testing.assert_allclose(recall, theirs[1][:-1][::-1])
    np.testing.assert_allclose(precision, theirs[0][:-1][::-1])
    assert area(recall, precision) == pytest.approx(average_precision_score(truth, scores))
    assert precision_recall(scores, truth & False)[0].size == 0


def test_a_map_of_other_shapes_is_refused():
    with pytest.raises(DataError, match="MMX-550"):
        EmbeddingMap("x", np.zeros((2, 2)), [Seen(0)], {"label": ["a", "b"]})
