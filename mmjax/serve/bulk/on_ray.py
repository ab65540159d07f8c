"""Blocks answered by actors of Ray Data, on one machine or a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from mmjax.core.errors import TransientError
from mmjax.core.extras import require
from mmjax.serve.bulk.job import Work
from mmjax.serve.bulk.rows import Block


def answer_on_ray(
    work: Work,
    blocks: Sequence[Block],
    done: Callable[[Block], None],
    *,
    address: str,
    workers: int | None = None,
) -> None:
    """Every block by one of `workers` actors, each with the compiled program, one a GPU or CPU of
    the cluster if None.

    `address` is the cluster's, "auto" for the one that this machine is of, "local" for one that is
    made here. The rows, the model and the folder must be where all its machines see them. Ray
    starts actors again that die, and gives their blocks to others. Raises MissingExtra without Ray,
    and TransientError where no cluster answers.
    """
    ray: Any = require("ray", "ray")
    data: Any = require("ray.data", "ray")
    began = not ray.is_initialized()
    if began:
        _join(ray, address)
    try:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = min(workers or gpus or int(resources.get("CPU", 1)), len(blocks))
        data.DataContext.get_current().enable_progress_bars = False
        rows = data.from_items(
            [dataclasses.asdict(block) for block in blocks], override_num_blocks=len(blocks)
        )
        answered = rows.map_batches(
            _Actor,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=count),
            **({"num_gpus": 1} if gpus else {"num_cpus": 1}),
        )
        known = {block.number: block for block in blocks}
        for row in answered.iter_rows():
            done(known[row["number"]])
    finally:
        if began:
            ray.shutdown()


def _join(ray: Any, address: str) -> None:
    more = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, **more)
    except Exception as error:  # of many kinds
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TransientError(
            720,
            f"no Ray cluster '{address}': {said}",
            where="--ray",
            fix="ray start --head makes one, local is one for this job",
        ) from error


class _Actor:
    """Answers the blocks that it is given, a batch having one."""

    def __init__(self, work: Work):
        from mmjax.export import load
        from mmjax.serve.bulk.answering import Answerer

        self._answerer = Answerer(load(work.model), work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for place in range(len(batch["number"])):
            block = Block(**{name: int(column[place]) for name, column in batch.items()})
            self._answerer.write(block)
        return {"number": batch["number"]}
