"""Relations against the formula of TACRED's scorer and scikit-learn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from mmjax.core.errors import DataError
from mmjax.metrics import relations
from mmjax.metrics.relations import relation_sums, relations_from_sums

NAMES = ("none", "of", "in", "never")


def _tacred(truth, said):
    """The counts of that scorer, line by line."""
    right = guessed = gold = 0
    for true, guess in zip(truth, said, strict=True):
        if true == 0 and guess == 0:
            continue
        if true == 0:
            guessed += 1
        elif guess == 0:
            gold += 1
        else:
            guessed += 1
            gold += 1
            right += true == guess
    precision = right / guessed if guessed else 1.0
    recall = right / gold if gold else 0.0
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


CASES = {
    "random": np.random.default_rng(0).integers(0, 3, (2, 50)),
    "nothing said": np.array([[0, 1, 2], [0, 0, 0]]),
    "nothing there": np.array([[0, 0, 0], [0, 1, 2]]),
    "no relation at all": np.zeros((2, 3), int),
    "right": np.array([[0, 1, 2], [0, 1, 2]]),
}


@pytest.mark.parametrize("name", CASES)
def test_micro_scores_are_tacreds(name):
    truth, said = CASES[name]
    found = relations(said, truth, label_names=NAMES, null=0)
    precision, recall, f1 = _tacred(truth, said)
    assert found["micro_precision"] == pytest.approx(precision if said.any() else 0.0)
    assert found["micro_recall"] == pytest.approx(recall)
    assert found["micro_f1"] == pytest.approx(f1)
    assert found["accuracy"] == pytest.approx((truth == said).mean())
    assert "f1/none" not in found
    kinds = sorted(set(truth) | set(said) - {0})
    kinds = [kind for kind in kinds if kind]
    if kinds:
        each = precision_recall_fscore_support(truth, said, labels=kinds, zero_division=0)
        for name, values in zip(("precision", "recall", "f1", "support"), each, strict=True):
            assert [found[f"{name}/{NAMES[k]}"] for k in kinds] == pytest.approx(values.tolist())
        macro = f1_score(truth, said, labels=kinds, average="macro", zero_division=0)
        assert found["macro_f1"] == pytest.approx(macro)
    else:
        assert np.isnan(found["macro_f1"])


def test_without_a_null_class_all_count():
    truth, said = CASES["random"]
    found = relations(said, truth, label_names=NAMES)
    assert found["micro_f1"] == pytest.approx(found["accuracy"])


def test_sums_over_uneven_shards_give_the_same():
    truth, said = CASES["random"]
    pad = lambda one: np.concatenate([one, [2] * 6])  # noqa: E731
    logits = np.eye(4, dtype=np.float32)[pad(said)]
    rows = (np.arange(56) < 50).astype(np.float32)
    function = jax.jit(relation_sums)
    parts = [
        function(*(jnp.asarray(one[i : i + 8]) for one in (logits, pad(truth), rows)))
        for i in range(0, 56, 8)
    ]
    sums = {name: sum(np.asarray(part[name], np.float64) for part in parts) for name in parts[0]}
    whole = relations(said, truth, label_names=NAMES, null=0)
    assert relations_from_sums(sums, NAMES, 0) == pytest.approx(whole)


def test_numbers_that_are_no_relation_are_refused():
    with pytest.raises(DataError, match="predictions contain 4"):
        relations(np.array([4]), np.array([0]), label_names=NAMES)
