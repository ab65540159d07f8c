"""The sections of a pretraining run's page."""

from __future__ import annotations

import numpy as np
import pytest
from test_report import HOSTILE, Page

from mmjax.core.errors import DataError
from mmjax.report import Hit, Query, ReportContents, Seen, Way, write_report
from mmjax.report.page import render

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def contents(text: str = "red apple") -> ReportContents:
    hits = [Hit(Seen(row, image=PICTURE), 0.9 - row / 10, right=row == 2) for row in range(1, 6)]
    values = {"recall@1": 0.25, "recall@10": 0.5, "median_rank": 11.0, "map": 0.3}
    return ReportContents(
        title="run",
        results={"pretraining": {"recall@10": 0.5, "recall@1": 0.25, "loss": 3.0}},
        headline="recall@10",
        objectives={
            "clip": {"kind": "contrastive", "loss": 2.0, "temperature": 0.05},
            text: {"kind": "matching", "loss": 0.5, "accuracy": 0.8},
        },
        ways=[
            Way("text → image", 300, 389, values, {"recall@1": (0.2, 0.3)}),
            Way("image → text", 300, 389, {**values, "recall@1": 0.125}),
        ],
        queries=[
            Query("text → image", Seen(2, text), hits, rank=2),
            Query("image → text", Seen(3, image=PICTURE), [Hit(Seen(3, text), 0.5, True)], rank=1),
        ],
    )


def test_sections_show_what_is_given():
    page = Page(render(contents()))
    assert [a["id"] for t, a in page.tags if t == "section"] == [
        "objectives",
        "retrieval",
        "queries",
    ]
    shown = page.section("objectives")[1:]
    assert shown[0] == "Settings and metrics of each objective"
    assert shown[1:6] == ["Kind", "Loss", "Temperature", "Accuracy", "clip"]
    assert shown[shown.index("clip") : shown.index("clip") + 5] == [
        *("clip", "contrastive", "2.000", "0.050", "-")
    ]
    ways = page.section("retrieval")
    start = ways.index("text → image")
    assert ways[start + 1 : start + 4] == ["0.250", "0.200 to 0.300 · chance 0.003", "0.500"]
    assert "chance 0.026" in ways[start + 4]
    assert ways[start + 5 : start + 8] == ["11.000", "300", "389"]


def test_the_right_answer_is_marked():
    page = Page(render(contents()))
    hits = [a["class"] for t, a in page.tags if t == "li" and "hit" in a.get("class", "")]
    assert hits == [f"hit {'right' if i == 1 else 'other'}" for i in range(5)] + ["hit right"]
    queries = [a["class"] for t, a in page.tags if t == "article"]
    assert queries == ["query wrong", "query right"]
    assert page.count("img") == 5 + 1
    assert "rank 2" in page.section("queries")


def test_names_from_outside_are_text(tmp_path):
    text = write_report(tmp_path, contents(HOSTILE)).read_text(encoding="utf-8")
    page = Page(text)
    assert page.count("script") == 0
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert "<script>alert(1)</script>" in " ".join(page.texts)


def test_what_is_no_picture_is_refused():
    query = Query("a → b", Seen(7, image=np.zeros((2, 2))), [], rank=1)
    with pytest.raises(DataError, match=r"float64 .*row 7"):
        ReportContents(title="t", results={"m": {}}, queries=[query])
