"""Metrics of rows with any number of labels as sums, as `sums` has them for classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Bool, Float
from mmjax.metrics.inputs import names_of
from mmjax.metrics.multi_label import of_counts


def multi_label_sums(
    logits: Float[Array, "b v"], labels: Bool[Array, "b v"], rows: Float[Array, "b"]
) -> dict[str, Array]:
    """Float32 sums over the rows of one batch that count (`rows` is 1, not 0), at threshold 0.5.

    `right`, `predicted`, `support` [v], `subset` (rows that are all right), `samples_precision`,
    `samples_recall`, `samples_f1`, `loss` (binary cross-entropy in nats, a mean over labels) and
    `weight`, the number of rows.
    """
    rows = rows.astype(jnp.float32)
    logits = jnp.where(rows[:, None] > 0, logits.astype(jnp.float32), 0.0)
    truth = labels.astype(jnp.float32) * rows[:, None]
    predicted = (logits >= 0).astype(jnp.float32) * rows[:, None]
    right = predicted * truth
    hits, said, there = right.sum(1), predicted.sum(1), truth.sum(1)
    losses = jax.nn.softplus(logits) - logits * truth

    def ratio(part: Array, whole: Array) -> Array:
        return jnp.sum(jnp.where(whole > 0, part / jnp.maximum(whole, 1.0), 0.0))

    return {
        "right": right.sum(0),
        "predicted": predicted.sum(0),
        "support": truth.sum(0),
        "subset": jnp.sum(rows * jnp.all(predicted == truth, axis=1)),
        "samples_precision": ratio(hits, said),
        "samples_recall": ratio(hits, there),
        "samples_f1": ratio(2 * hits, said + there),
        "loss": jnp.sum(losses.mean(axis=1) * rows),
        "weight": rows.sum(),
    }


def multi_label_from_sums(
    sums: Mapping[str, Any], label_names: Sequence[str] | None = None
) -> dict[str, float]:
    """What `multi_label` says of predicted labels, and `log_loss`, divided in float64.

    Everything is NaN if no row counted.
    """
    values = {name: np.asarray(value, np.float64) for name, value in sums.items()}
    names = names_of(label_names, len(values["support"]))
    if not values["weight"] > 0:
        ones = {name: np.ones_like(value) for name, value in values.items()}
        return dict.fromkeys(multi_label_from_sums(ones, names), float("nan"))
    rows = float(values["weight"])
    wrong = (values["predicted"] + values["support"] - 2 * values["right"]).sum()
    shares = ("samples_precision", "samples_recall", "samples_f1")
    return {
        **of_counts(values["right"], values["predicted"], values["support"], names),
        "subset_accuracy": float(values["subset"] / rows),
        "hamming_loss": float(wrong / (rows * len(names))),
        **{name: float(values[name] / rows) for name in shares},
        "log_loss": float(values["loss"] / rows),
    }
