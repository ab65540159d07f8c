"""A whole job: planned, shared out, resumed and finished."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mmjax.core.errors import ConfigError
from mmjax.export import loaded
from mmjax.serve.bulk.answering import columns_of
from mmjax.serve.bulk.job import Job, Work
from mmjax.serve.bulk.on_ray import answer_on_ray
from mmjax.serve.bulk.rows import Block, plan
from mmjax.serve.bulk.workers import answer_by_processes, answer_here
from mmjax.serve.filtering import named

BLOCK = 1024

Progress = Callable[[int, int], None]
"""Told the rows that are written and all of them."""


def predict_rows(
    model: str | os.PathLike,
    rows: str | os.PathLike,
    out: str | os.PathLike,
    *,
    workers: int | None = None,
    ray: str | None = None,
    shard: tuple[int, int] = (0, 1),
    resume: bool = False,
    id_column: str | None = None,
    root: str | None = None,
    block: int = BLOCK,
    threads: int = 4,
    filter: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """The file in `out` that has an answer, or the error, of every row of a manifest.

    `model` is an exported folder or the pointer to one. `workers` are processes of this machine
    beside this one, or actors of the Ray cluster `ray`; this process alone if neither is given. A
    `shard` `(i, n)` does every n-th block of `block` rows from the i-th on. What was written before
    stays where `resume` is said. Rows are known by `id_column`, by the column that the model's run
    had, or by their numbers. Every answer goes through `filter`, a function's place
    (`mmjax.serve.filtering`). Errors are those of `rows.plan`, `Job.held`, `export.load` and
    `filtering.named`.
    """
    # Parameters are loaded where blocks are answered: a device may have room for them once.
    opened = loaded.opened(model)
    if filter is not None:
        named(filter)
    found = plan(
        Path(rows),
        columns=columns_of(loaded.inputs_of(opened).described()),
        size=block,
        root=root,
        id_column=id_column,
        wanted_id=opened.manifest["metadata"].get("id_column"),
    )
    job = Job(Path(out), found, opened.digest, *checked(shard), filter=filter)
    with job.held(resume=resume):
        pending = job.pending()
        left = sum(one.rows for one in pending)

        def done(one: Block) -> None:
            nonlocal left
            left -= one.rows
            if progress is not None:
                progress(job.rows - left, job.rows)

        parts = str(job.parts.resolve())
        work = Work(str(opened.path.resolve()), found.source, parts, threads, filter)
        if pending and ray is not None:
            answer_on_ray(work, pending, done, address=ray, workers=workers)
        elif pending and workers is not None:
            answer_by_processes(work, pending, done, workers=workers)
        elif pending:
            answer_here(work, pending, done, loaded.Exported(opened))
        return job.finish()


def checked(shard: tuple[int, int]) -> tuple[int, int]:
    """Raises ConfigError unless it is one of 0 to n - 1, and n."""
    place, count = shard
    if not 0 <= place < count:
        raise ConfigError(106, f"shard {place}/{count}", fix="0/8 to 7/8 for eight")
    return shard
