"""The registry of writers."""

from __future__ import annotations

from typing import Annotated

from mmjax.core.registry import Registry, Spec

writers = Registry(
    "writer",
    {
        "jsonl": "mmjax.writers.jsonl:JsonLines",
        "tensorboard": "mmjax.writers.tensorboard:TensorBoard",
        "wandb": "mmjax.writers.wandb:WandB",
    },
)

WriterSpec = Annotated[Spec, writers]
