"""Classification metrics as sums over rows, for use inside jit and under any sharding.

Sums of micro-batches, batches and hosts add up (`merge`), so a mean is taken once, over all rows.
AUROC ranks the whole split and has no such sums: the host function computes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float, Int
from mmjax.metrics.calibration import bin_edges, expected_calibration_error
from mmjax.metrics.confusion import averages, per_class
from mmjax.metrics.inputs import names_of


def classification_sums(
    logits: Float[Array, "b c"],
    labels: Int[Array, "b"],
    weights: Float[Array, "b"] | None = None,
    *,
    bins: int = 15,
    ks: Sequence[int] = (1, 5),
) -> dict[str, Array]:
    """Float32 sums over the rows of one batch, each row counted `weights` times (once if None).

    Returns `confusion` [c c] (true, predicted), `correct@<k>` for k of `ks` with 1 < k < c,
    `calibration` [3 bins] (weight, confidence, correctness), `loss` (-log p(label) in nats, without
    smoothing) and `weight`. A row of weight 0 counts nowhere, whatever its logits and label are.
    Labels must be in [0, c): data checks them on the host, since a device cannot raise. Counts are
    exact up to 2**24; merge larger evaluations on the host in float64.
    """
    num_labels = logits.shape[-1]
    weights = jnp.ones(labels.shape, jnp.float32) if weights is None else weights
    weights = weights.astype(jnp.float32)
    counted = weights > 0
    logits = jnp.where(counted[:, None], logits.astype(jnp.float32), 0.0)
    labels = jnp.where(counted, labels, 0)

    log_probabilities = jax.nn.log_softmax(logits)
    of_label = jnp.take_along_axis(log_probabilities, labels[:, None], axis=-1)
    predictions = jnp.argmax(logits, axis=-1)
    correct = predictions == labels
    confidence = jnp.exp(jnp.max(log_probabilities, axis=-1))
    where = jnp.sum(confidence[:, None] > jnp.asarray(bin_edges(bins)), axis=-1)

    # One-hot products instead of scatters: they shard over the batch and add in a fixed order.
    truth = jax.nn.one_hot(labels, num_labels) * weights[:, None]
    per_row = jnp.stack([weights, weights * confidence, weights * correct])
    own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
    lower = jnp.arange(num_labels)[None] < labels[:, None]
    rank = jnp.sum((logits > own) | ((logits == own) & lower), axis=-1)
    return {
        "confusion": jnp.einsum(
            "bt,bp->tp", truth, jax.nn.one_hot(predictions, num_labels), precision="highest"
        ),
        **{f"correct@{k}": jnp.sum(weights * (rank < k)) for k in ks if 1 < k < num_labels},
        "calibration": jnp.einsum(
            "rb,bm->rm", per_row, jax.nn.one_hot(where, bins), precision="highest"
        ),
        "loss": -jnp.sum(weights * of_label[:, 0]),
        "weight": jnp.sum(weights),
    }


def merge(a: Any, b: Any) -> Any:
    """The sums of two sets of rows together; trees of device or host arrays."""
    return jax.tree.map(lambda x, y: x + y, a, b)


def classification_from_sums(
    sums: Mapping[str, Any], label_names: Sequence[str] | None = None
) -> dict[str, float]:
    """The flat dict of `mmjax.metrics.classification`, less `auroc`, divided in float64.

    Every value is NaN if no row counted.
    """
    values = {name: np.asarray(value, np.float64) for name, value in sums.items()}
    if not values["weight"] > 0:
        ones = {name: np.ones_like(value) for name, value in values.items()}
        return dict.fromkeys(classification_from_sums(ones, label_names), float("nan"))
    confusion, weight = values["confusion"], float(values["weight"])
    names = names_of(label_names, len(confusion))
    found = averages(confusion)
    return {
        "accuracy": found.pop("accuracy"),
        **{
            f"top{name.partition('@')[2]}_accuracy": float(value / weight)
            for name, value in values.items()
            if name.startswith("correct@")
        },
        **found,
        "log_loss": float(values["loss"] / weight),
        "ece": expected_calibration_error(values["calibration"]),
        **per_class(confusion, names),
    }
