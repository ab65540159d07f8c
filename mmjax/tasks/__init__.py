"""Fine-tuning tasks: head, loss, metrics and post-processing of one task, one file each.

A task is a Linen module called as `task(fused, batch, train=...) -> TaskOutput`; a batch without
its target gives a loss of 0 and predictions only. Off the device it offers `compute(sums)`, the
metrics of summed `TaskOutput.metrics`, `evaluate(predictions, targets)`, the metrics that need
every row, and `decode(predictions)`, one JSON-able dictionary a row.

To add one: a file with the module, and a line below.
"""

from __future__ import annotations

from typing import Annotated, Any

from mmjax.core.registry import Registry, Spec

registry = Registry("task", {"classification": "mmjax.tasks.classification:Classification"})

TaskSpec = Annotated[Spec, registry]


def build(name: str, **options: Any):
    """The task registered under `name`, as a Linen module."""
    return registry.build(name, **options)
