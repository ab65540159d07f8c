"""Answers to questions about pictures, beside what the official evaluation code gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.data.answer_text import leave_one_out, normalise_answer, soft_score
from mmjax.metrics.vqa import accuracies, vqa, vqa_from_sums, vqa_sums

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "metrics" / "answers.json").read_text("utf-8")
)
CASES = GOLDEN["vqa"]["cases"]


def test_normal_forms_are_the_official_ones():
    wrong = [(raw, n) for raw, n in GOLDEN["vqa"]["normal"] if normalise_answer(raw) != n]
    assert wrong == []
    assert len(GOLDEN["vqa"]["normal"]) > 200


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("The two dogs.", "2 dogs"),
        ("dont know", "don't know"),
        ("1,000", "1000"),
        ("left-hand", "left hand"),
        ("left - hand", "left hand"),
        ("U.S.A.", "usa"),
        ("3.5", "3.5"),
        ("none", "0"),
    ],
)
def test_normal_forms_by_the_published_rules(raw, normal):
    assert normalise_answer(raw) == normal


def test_accuracy_is_the_official_one_of_each_question_and_type():
    for case in CASES:
        found = vqa([case["said"]], [case["given"]])["vqa_accuracy"]
        assert found == pytest.approx(case["value"], abs=1e-12)
    types = [case["type"] for case in CASES]
    found = vqa([c["said"] for c in CASES], [c["given"] for c in CASES], types=types)
    values = np.array([case["value"] for case in CASES])
    assert found["vqa_accuracy"] == pytest.approx(values.mean())
    other = np.array(types) == "other"
    assert found["vqa_accuracy/other"] == pytest.approx(values[other].mean())


def test_scores_by_how_many_agree():
    assert [leave_one_out(n, 10) for n in range(6)] == pytest.approx([0, 0.3, 0.6, 0.9, 1, 1])
    assert [soft_score(n, 10) for n in range(5)] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert [leave_one_out(n, 1) for n in (0, 1)] == [soft_score(n, 1) for n in (0, 1)] == [0, 1]
    assert leave_one_out(2, 2) == 1.0
    table = [(n, k) for k in range(1, 13) for n in range(k + 1)]
    on_device = accuracies(
        jnp.array([[n] for n, _ in table], jnp.float32), jnp.array([k for _, k in table])
    )
    np.testing.assert_allclose(on_device[:, 0], [leave_one_out(*one) for one in table], atol=1e-6)


def test_edges():
    empty = vqa([], [])
    assert math.isnan(empty["vqa_accuracy"])
    assert vqa(["a Dog", "cat"], ["dog", ["dog"]]) == {"vqa_accuracy": 0.5, "accuracy": 0.5}
    with pytest.raises(DataError, match="MMX-540"):
        vqa(["yes"], [])
    with pytest.raises(DataError, match="MMX-541"):
        vqa(["yes"], [[]])


def test_sums_over_shards_are_the_metrics_of_all_rows():
    names = sorted({answer for case in CASES for answer in case["given"]})
    types = ["other", "yes/no"]
    counts = np.array([[c["given"].count(n) for n in names] for c in CASES], np.float32)
    predicted = np.array([names.index(c["said"]) for c in CASES])
    common = np.array([names.index(max(c["given"], key=c["given"].count)) for c in CASES])
    of = np.array([types.index(c["type"]) for c in CASES])
    one = jax.jit(lambda *args: vqa_sums(*args, num_types=2))
    total: dict[str, np.ndarray] = {}
    for start in range(0, 60, 14):
        at = np.minimum(np.arange(start, start + 14), 59)
        rows = jnp.asarray(np.arange(start, start + 14) < 60, jnp.float32)
        ten = jnp.full(14, 10.0)
        sums = one(predicted[at], counts[at], ten, common[at], of[at], rows)
        total = {k: total.get(k, 0) + np.asarray(v, np.float64) for k, v in sums.items()}
    found = vqa_from_sums(total, types)
    expected = vqa(
        [c["said"] for c in CASES], [c["given"] for c in CASES], types=[c["type"] for c in CASES]
    )
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=1e-6)
    best = [max(leave_one_out(n, 10) for n in row) for row in counts]
    assert found["upper_bound"] == pytest.approx(np.mean(best), abs=1e-6)
