"""Exact match and F1 of answers, beside what the scripts of SQuAD 2.0 and CMRC 2018 give."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mmjax.core.errors import DataError
from mmjax.metrics.question_answering import exact_match, f1, normalise, question_answering

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "metrics" / "answers.json").read_text("utf-8")
)


@pytest.mark.parametrize(("script", "language"), [("squad", "en"), ("cmrc", "zh")])
def test_values_are_those_of_the_official_scripts(script, language):
    cases = GOLDEN[script]["cases"]
    assert len(cases) > 200
    for answer, said, exact, overlap in cases:
        assert exact_match(answer, said, language) == exact, (answer, said)
        assert f1(answer, said, language) == pytest.approx(overlap, abs=1e-12), (answer, said)


def test_normal_forms_are_the_official_ones():
    for text, normal in GOLDEN["squad"]["normal"]:
        assert normalise(text) == normal


def test_the_nearest_answer_counts_and_questions_without_one():
    found = question_answering(
        ["the cat", "dog", "", "x"], [["a dog", "The cat!"], ["big dog"], [], ["", "the"]]
    )
    assert found == pytest.approx(
        {
            "exact_match": 0.5,
            "f1": (1 + 2 / 3 + 1 + 0) / 4,
            "answerable_exact_match": 0.5,
            "answerable_f1": (1 + 2 / 3) / 2,
            "unanswerable_accuracy": 0.5,
        }
    )
    chinese = question_answering(["北京。"], [["北京", "上海"]], language="zh")
    assert chinese["exact_match"] == chinese["f1"] == 1
    assert math.isnan(chinese["unanswerable_accuracy"])
    assert math.isnan(question_answering([], [])["f1"])
    with pytest.raises(DataError, match="MMX-540"):
        question_answering(["x"], [])
