"""Entities as seqeval counts them, from tags, from spans, and as sums over shards."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.metrics.entities import entities, entities_from_sums, entity_sums, span_entities
from mmjax.metrics.tags import entities_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "metrics" / "seqeval.json"
CASES = json.loads(GOLDEN.read_text(encoding="utf-8"))
AVERAGED = ("precision", "recall", "f1")


def _ids(case):
    return f"{case['scheme']} {case['name']}"


@pytest.mark.parametrize("mode", ["default", "strict"])
@pytest.mark.parametrize("case", CASES, ids=_ids)
def test_entities_are_those_of_seqeval(case, mode):
    true, said = ([row.split() for row in case[name]] for name in ("true", "predicted"))
    ours = entities(true, said, scheme=case["scheme"] if mode == "strict" else None)
    theirs = case[mode]
    for average in ("micro", "macro", "weighted"):
        for name, value in zip(AVERAGED, theirs[average], strict=False):
            wanted = np.nan if value is None else value
            found = ours[f"{average}_{name}"]
            assert found == pytest.approx(wanted, abs=1e-12, nan_ok=True), (average, name)
    kinds = sorted(name.partition("/")[2] for name in ours if name.startswith("support/"))
    for name, values in zip((*AVERAGED, "support"), theirs["None"], strict=True):
        assert [ours[f"{name}/{kind}"] for kind in kinds] == pytest.approx(values, abs=1e-12)
    wanted = np.nan if case["accuracy"] is None else case["accuracy"]
    assert ours["accuracy"] == pytest.approx(wanted, nan_ok=True)


def test_names_that_do_not_occur_are_told_of_and_are_in_no_mean():
    found = entities([["B-x", "O"]], [["B-x", "B-y"]], names=("x", "y", "z"))
    assert (found["f1/x"], found["f1/z"], found["support/z"]) == (1.0, 0.0, 0.0)
    assert found["macro_f1"] == 0.5
    empty = entities([["O"]], [["O"]], names=("x", "y", "z"))
    assert set(empty) == set(found)


@pytest.mark.parametrize(
    ("true", "said", "scheme", "what"),
    [
        ([["O"]], [], None, "0 sequences predicted of 1"),
        ([["O"], ["O", "O"]], [["O"], ["O"]], None, r"1 tags for 2 tokens.*row 1"),
        ([["Q-x"]], [["O"]], None, "'Q-x' is no tag"),
        ([["Bx"]], [["O"]], None, "'Bx' is no tag"),
        ([["E-x"]], [["O"]], "IOB2", "'E-' is no tag of IOB2"),
    ],
)
def test_what_are_no_tags_is_refused(true, said, scheme, what):
    with pytest.raises(DataError, match=what):
        entities(true, said, scheme=scheme)


def _spans(rng, rows, most):
    """Random spans without overlap, as rows of arrays."""
    found = np.full((rows, most, 3), -1, np.int32)
    for row in range(rows):
        cuts = np.sort(rng.choice(12, 2 * rng.integers(0, most + 1), replace=False))
        for i, (start, end) in enumerate(cuts.reshape(-1, 2)):
            found[row, i] = start, end + 1, rng.integers(0, 3)
    return found


def _tags(spans):
    rows = []
    for row in spans.tolist():
        tags = ["O"] * 14
        for start, end, kind in row:
            for i in range(start, end):
                tags[i] = f"{'B' if i == start else 'I'}-{'xyz'[kind]}"
        rows.append(tags)
    return rows


def test_spans_and_sums_over_uneven_shards_give_what_tags_give():
    rng = np.random.default_rng(0)
    true, said = _spans(rng, 30, 3), _spans(rng, 30, 4)
    same = rng.random(30) < 0.5
    said[same, :3], said[same, 3] = true[same], -1
    whole = span_entities(true, said, ("x", "y", "z"))
    wanted = entities(_tags(true), _tags(said), names=("x", "y", "z"))
    wanted.pop("accuracy")
    assert whole == pytest.approx(wanted)
    assert 0 < whole["micro_f1"] < 1
    pad = lambda some: np.concatenate([some, some[:2]])  # noqa: E731
    rows = np.arange(32) < 30
    function = jax.jit(lambda a, b, rows: entity_sums(a, b, 3, rows))
    parts = [
        function(
            jnp.asarray(pad(true)[i : i + 8]), jnp.asarray(pad(said)[i : i + 8]), rows[i : i + 8]
        )
        for i in range(0, 32, 8)
    ]
    sums = {name: sum(np.asarray(part[name], np.float64) for part in parts) for name in parts[0]}
    assert entities_from_sums(sums, ("x", "y", "z")) == pytest.approx(whole)
    nothing = function(jnp.asarray(true[:8]), jnp.asarray(said[:8]), np.zeros(8, bool))
    assert np.isnan(entities_from_sums(nothing, ("x", "y", "z"))["macro_f1"])


def test_entities_of_conlleval_and_of_a_scheme_differ_on_broken_sequences():
    tags = ["I-a", "I-a", "O", "B-b", "I-a"]
    assert entities_of(tags) == [("a", 0, 2), ("b", 3, 4), ("a", 4, 5)]
    assert entities_of(tags, "IOB2") == [("b", 3, 4)]
