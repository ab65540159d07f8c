"""Metrics of relations, one of which may mean that there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float, Int
from mmjax.metrics.entities import entity_scores
from mmjax.metrics.inputs import labels_in_range, names_of


def relations(
    predicted: Int[np.ndarray, "n"],
    labels: Int[np.ndarray, "n"],
    *,
    label_names: Sequence[str],
    null: int | None = None,
) -> dict[str, float]:
    """Precision, recall and F1 of all relations but `null`, as a flat dict in float64.

    `micro_...` as the scorer of TACRED has it (Zhang et al. 2017): of the pairs that are said to
    have a relation, and of those that have one, the share with the right one (0 where there are no
    such pairs; that scorer says a precision of 1). `macro_...` are means over the relations that
    occur, `weighted_...` by support, and `accuracy` is of all pairs, those without one too.
    """
    names = names_of(label_names, len(label_names))
    truth = labels_in_range(labels, len(names))
    said = labels_in_range(predicted, len(names), "predictions")
    count = len(names)
    sums = {
        "right": np.bincount(truth[truth == said], minlength=count),
        "predicted": np.bincount(said, minlength=count),
        "support": np.bincount(truth, minlength=count),
    }
    return relations_from_sums(sums, names, null)


def relation_sums(
    logits: Float[Array, "b v"], labels: Int[Array, "b"], rows: Float[Array, "b"]
) -> dict[str, Array]:
    """Float32 sums `right`, `predicted` and `support` [v] over the rows that count."""
    count = logits.shape[-1]
    labels = jnp.where(rows > 0, labels, 0)
    said = jnp.argmax(logits, axis=-1)
    truth = jax.nn.one_hot(labels, count) * rows[:, None]
    return {
        "right": jnp.sum(truth * (said == labels)[:, None], axis=0),
        "predicted": jnp.sum(jax.nn.one_hot(said, count) * rows[:, None], axis=0),
        "support": truth.sum(axis=0),
    }


def relations_from_sums(
    sums: Mapping[str, Any], label_names: Sequence[str], null: int | None = None
) -> dict[str, float]:
    """What `relations` gives, of summed `relation_sums`."""
    parts = [np.asarray(sums[n], np.float64) for n in ("right", "predicted", "support")]
    kept = [i for i in range(len(label_names)) if i != null]
    total = float(parts[2].sum())
    right, said, there = (part[kept] for part in parts)
    return {
        **entity_scores(right, said, there, [label_names[i] for i in kept]),
        "accuracy": float(parts[0].sum()) / total if total else float("nan"),
    }
