import base64
import dataclasses
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from mmjax import metrics
from mmjax.core.errors import DataError
from mmjax.report import Example, ReportContents, choose_examples, write_report
from mmjax.report.page import render

NAMES = ("cats", "dogs & wolves", "鳥 🐦", "$x^2$ <b>")
VOID = ("meta", "img", "br", "input")


class Page(html.parser.HTMLParser):
    """Tags, attributes and text; unbalanced markup is an error."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts, self.paths = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if data.strip() and (not self.open or self.open[-1][0] != "style"):
            self.texts.append(data.strip())
            self.paths.append([attributes.get("id") for _, attributes in self.open])

    def count(self, tag, css=None):
        return sum(
            t == tag and (css is None or css in a.get("class", "").split()) for t, a in self.tags
        )

    def section(self, name):
        return [t for t, path in zip(self.texts, self.paths, strict=True) if name in path]


def contents(**changes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    logits = rng.normal(size=(60, 4)) + 1.5 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predictions = probabilities.argmax(1)
    found = metrics.classification(probabilities, labels, label_names=NAMES)
    weak = metrics.classification(np.roll(probabilities, 1, 0), labels, label_names=NAMES)
    examples = [
        Example(
            row=int(row),
            id=f"id-{row}",
            prediction=NAMES[predictions[row]],
            probability=float(probabilities[row].max()),
            label=NAMES[labels[row]],
            fields={"name": f"text {row}"},
            images={"photo": rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)},
            top=[(NAMES[i], float(probabilities[row, i])) for i in np.argsort(-probabilities[row])][
                :3
            ],
        )
        for row in choose_examples(probabilities, labels, wrong=5, right=4)
    ]
    curves = [{"step": s, "train/loss": 1 / s, "learning_rate": 0.1} for s in range(1, 100)]
    curves[50]["train/loss"] = None
    curves += [{"step": 50, "validation/accuracy": 0.5, "validation/f1/cats": 0.1}]
    curves += [{"step": 99, "validation/accuracy": 0.6, "validation/log_loss": 0.9}]
    values = {
        "title": "Animals",
        "results": {"text alone": weak, "fused": found},
        "rows": 60,
        "intervals": {"fused": (0.5, 0.75)},
        "run_folder": "runs/a",
        "usage": ["import mmjax", 'run = mmjax.load_run("runs/a")'],
        "curves": curves,
        "best_step": 99,
        "label_names": NAMES,
        "confusion": metrics.confusion_matrix(labels, predictions, 4),
        "calibration": metrics.calibration_bins(probabilities, labels),
        "examples": examples,
        "data_summary": {"source": "a.csv", "rows": {"train": 600, "test": 60}},
        "config": {"seed": 3, "model": {"width": 128}},
        "environment": {"jax": "0.10.2", "device": "cpu"},
    }
    return ReportContents(**{**values, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    given = contents()
    path = write_report(folder, given)
    return given, folder, path, path.read_text(encoding="utf-8")


def test_every_section_is_there_and_linked(written):
    _, _, _, text = written
    page = Page(text)
    ids = [a["id"] for t, a in page.tags if t == "section"]
    expected = "models curves classes confusion calibration examples data config environment usage"
    assert ids == expected.split()
    links = [a["href"] for t, a in page.tags if t == "a"]
    assert links == ["#main", "#top", *(f"#{one}" for one in ids)]


def test_the_page_is_complete_in_itself(written):
    _, _, _, text = written
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href"):
                assert value.startswith(("data:image/png;base64,", "#")), value
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text
    assert "url(#" in text  # clip paths within the SVG
    assert not re.search(r"url\((?!#)", text)


def test_headline_and_comparison(written):
    given, _, _, text = written
    page = Page(text)
    assert f"{given.metrics['accuracy']:.3f}" in page.texts
    about = next(t for t in page.texts if "95 % interval" in t)
    assert about.startswith("95 % interval 0.500 to 0.750 · 60 rows · majority class 0.")
    support = given.confusion.sum(1)
    assert f"{support.max() / 60:.3f}" in about
    flat = [n for n in given.metrics if "/" not in n]
    shown = page.section("models")
    for name in flat:
        row = [f"{given.results[m][name]:.3f}" for m in ("text alone", "fused")]
        assert all(value in shown for value in row)
    assert page.count("td", "best") >= len(flat)


def test_class_table_and_confusion_counts(written):
    given, _, _, text = written
    page = Page(text)
    shown = page.section("classes")
    for name in NAMES:
        start = shown.index(name)
        expected = [f"{given.metrics[f'support/{name}']:.0f}"]
        expected += [f"{given.metrics[f'{c}/{name}']:.3f}" for c in ("precision", "recall", "f1")]
        assert shown[start + 1 : start + 5] == expected
    titles = [a["title"] for t, a in page.tags if t == "td" and "title" in a]
    assert len(titles) == 16
    counts = [int(re.search(r": (\d+) \(", title)[1]) for title in titles]
    np.testing.assert_array_equal(np.reshape(counts, (4, 4)), given.confusion)


def test_cards_wrong_first_surest_first_with_pictures(written):
    given, _, _, text = written
    page = Page(text)
    states = [a["class"] for t, a in page.tags if t == "article"]
    assert states == ["card wrong"] * 5 + ["card right"] * 4
    assert page.count("li", "other") + page.count("li", "is-label") == 3 * 9
    sources = [a["src"] for t, a in page.tags if t == "img"]
    first = min((e for e in given.examples if not e.correct), key=lambda e: -e.probability)
    decoded = Image.open(io.BytesIO(base64.b64decode(sources[0].partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(decoded), first.images["photo"])


def test_plots_are_written(written):
    _, folder, path, _ = written
    assert path == folder / "report.html"
    names = {p.name for p in (folder / "plots").iterdir()}
    assert names == {"curves.png", "confusion.png", "reliability.png", "per_class_f1.png"}
    for plot in (folder / "plots").iterdir():
        assert min(Image.open(plot).size) > 300


HOSTILE = "<script>alert(1)</script>\"' onerror=x \x1b[31m =cmd() $\\frac{$ \udcff \u202e &amp;"


def test_everything_from_outside_is_text(tmp_path):
    names = (HOSTILE, "b")
    found = {"accuracy": 0.5, f"f1/{HOSTILE}": 0.5, "f1/b": 0.5, f"support/{HOSTILE}": 1.5}
    example = Example(
        row=1,
        id=HOSTILE,
        prediction=HOSTILE,
        probability=7.0,
        label="b",
        fields={HOSTILE: HOSTILE * 100},
        images={HOSTILE: np.zeros((1, 900, 1), np.uint8)},
        top=[(HOSTILE, 7.0), ("b", -1.0)],
    )
    given = ReportContents(
        title=HOSTILE,
        results={HOSTILE: found, "other": {HOSTILE: 0.1, "accuracy": float("nan")}},
        model=HOSTILE,
        split=HOSTILE,
        run_folder=HOSTILE,
        usage=[HOSTILE],
        curves=[{"step": 1, "train/loss": 1.0, f"validation/{HOSTILE.replace('/', '')}": 0.5}],
        label_names=names,
        confusion=np.array([[1, 2], [0, 3]]),
        calibration=np.ones((3, 4)),
        examples=[example, dataclasses.replace(example, label=None, images={})],
        data_summary={HOSTILE: HOSTILE, "rows": {HOSTILE: {HOSTILE: 1}}, "l": [HOSTILE, 1]},
        config={HOSTILE: HOSTILE},
        environment={HOSTILE: HOSTILE},
    )
    text = write_report(tmp_path, given).read_text(encoding="utf-8")
    page = Page(text)
    assert page.count("script") == 0
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
    joined = " ".join(page.texts)
    assert "<script>alert(1)</script>" in joined
    assert r"\x1b[31m =cmd() $\frac{$ \udcff \u202e &amp;" in joined
    assert page.count("article", "unknown") == 1


def test_one_model_alone_and_nothing_but_results():
    text = render(ReportContents(title="t", results={"model": {"mean_absolute_error": 0.2}}))
    page = Page(text)
    assert page.count("section") == 0
    whole = contents(results={"fused": contents().metrics}, intervals={})
    ids = [a["id"] for t, a in Page(render(whole)).tags if t == "section"]
    assert "models" not in ids
    assert "classes" in ids


def test_seed_spread_is_shown():
    results = {"a": {"accuracy": 0.7}, "b": {"accuracy": 0.8}}
    given = ReportContents(title="t", results=results, spread={"b": {"accuracy": 0.0123}})
    texts = Page(render(given)).texts
    assert "± 0.012" in texts
    assert any("± 0.012 over seeds" in t for t in texts)


def test_many_classes_stay_small(tmp_path):
    names = [f"class {i}" for i in range(300)]
    found = {"accuracy": 1.0, **{f"f1/{n}": 1.0 for n in names}}
    counts = np.eye(300, dtype=int)
    counts[3, 7] = 5
    given = ReportContents(title="t", results={"m": found}, label_names=names, confusion=counts)
    path = write_report(tmp_path, given)
    assert path.stat().st_size < 300_000
    assert "5 of 6" in Page(path.read_text()).section("confusion")


def test_choose_examples_takes_the_surest_mistakes():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3], [0.45, 0.55]])
    labels = np.array([1, 0, 1, 0, 0])
    chosen = choose_examples(probabilities, labels, wrong=2, right=5)
    assert chosen.tolist()[:2] == [0, 1]
    assert sorted(chosen.tolist()[2:]) == [2, 3]


def test_contents_that_contradict_themselves_are_refused():
    with pytest.raises(DataError, match="without results"):
        ReportContents(title="t", results={})
    with pytest.raises(DataError, match="did you mean 'fused'"):
        contents(model="fuse")
    with pytest.raises(DataError, match="confusion has shape"):
        contents(confusion=np.zeros((3, 3)))
    bad = Example(row=4, prediction="a", probability=1.0, images={"photo": np.zeros((2, 2))})
    with pytest.raises(DataError, match=r"float64 .*row 4"):
        contents(examples=[bad])


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("mmjax.report.page._plots", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path, contents())
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
