"""A pass over a split: sums, predictions and the metrics of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmjax.core.failpoints import failpoint
from mmjax.core.types import Batch, TaskOutput
from mmjax.parallel.sharding import put_batch
from mmjax.train.watchdog import alive

Texts = Callable[[np.ndarray], Mapping[str, Sequence[str | None]]]
"""The texts of rows, by modality."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a pass found, with the rows in the order of the split."""

    metrics: dict[str, float]
    predictions: dict[str, np.ndarray]
    """Per row, padding rows left out."""
    targets: dict[str, np.ndarray]
    rows: np.ndarray
    """Each row's position in its source."""
    sums: dict[str, np.ndarray]


def evaluate(
    function: Callable[[Any, Batch], TaskOutput],
    variables: Any,
    batches: Iterable[Batch],
    task: Any,
    mesh: Mesh,
    *,
    on_batch: Callable[[int], None] | None = None,
    texts: Texts | None = None,
) -> Evaluation:
    """Runs `function` over host batches and gathers what it returns on the host.

    The loss is the mean over all weights. Where the batches have the task's targets, the metrics
    that need every row come on top of those that sums give. `on_batch` is told the rows so far.
    `texts` gives the texts of rows by modality, to a task that needs them.
    """
    total, weight = 0.0, 0.0
    sums: dict[str, np.ndarray] = {}
    predictions: list[Mapping[str, np.ndarray]] = []
    targets: list[Mapping[str, np.ndarray]] = []
    rows: list[np.ndarray] = []
    seen = 0
    for batch in batches:
        device = put_batch(batch, mesh)
        output = jax.device_get(function(variables, device))
        failpoint("evaluation")
        alive()
        whole = gather(batch, device)
        kept = np.asarray(whole.row_mask)
        total += float(output.loss) * float(output.weight)
        weight += float(output.weight)
        for name, value in output.metrics.items():
            sums[name] = sums.get(name, 0.0) + np.asarray(value, np.float64)
        predictions.append({k: np.asarray(v)[kept] for k, v in output.predictions.items()})
        targets.append({k: np.asarray(v)[kept] for k, v in whole.targets.items()})
        rows.append(np.asarray(whole.row)[kept])
        seen += int(kept.sum())
        if on_batch is not None:
            on_batch(seen)
    metrics = {"loss": total / weight} if weight else {}
    gathered, labels = _concatenate(predictions), _concatenate(targets)
    if sums:
        metrics |= task.compute(sums)
        metrics |= of_all_rows(task, gathered, labels, np.concatenate(rows), texts)
    return Evaluation(metrics, gathered, labels, np.concatenate(rows), sums)


def of_all_rows(
    task: Any,
    predictions: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
    rows: np.ndarray,
    texts: Texts | None,
) -> dict[str, float]:
    """The metrics that need every row, with the rows' texts if the task goes by them."""
    if texts is None or not task.needs_texts:
        return task.evaluate(predictions, targets)
    return task.evaluate(predictions, targets, texts=texts(rows))


def gather(batch: Batch, device: Batch) -> Batch:
    """The global batch on this host, without inputs where it is not the host's own."""
    if jax.process_count() == 1:
        return batch
    from jax.experimental import multihost_utils

    small = dataclasses.replace(device, inputs={}, present={})
    return multihost_utils.process_allgather(small, tiled=True)


def _concatenate(parts: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
