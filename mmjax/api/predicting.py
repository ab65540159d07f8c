"""Predictions of more rows than fit in memory, by an export, a run, or a run over many hosts."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.api.exporting import export
from mmjax.api.run import Run, load_run
from mmjax.core.errors import CheckpointError, ConfigError
from mmjax.core.files import read_json
from mmjax.data.quarantine import Quarantined
from mmjax.export import folder as folders
from mmjax.parallel.distributed import initialize
from mmjax.serve.bulk import running
from mmjax.serve.bulk.answering import as_json, failed
from mmjax.serve.bulk.job import Job, Work
from mmjax.serve.bulk.rows import Block, files_of, plan

MODEL = "model"
"""The folder, in a job's, of the program that was made of a run."""


def predict_rows(
    model: Run | str | os.PathLike, rows: str | os.PathLike, out: str | os.PathLike, **options: Any
) -> Path:
    """An answer, or the error, of every row of a manifest, once each: the file that holds them.

        mmjax.predict_rows("exported", "rows.parquet", "out", workers=4)
        mmjax.predict_rows("runs/first", "rows.csv", "out", resume=True)

    `model` is an export, a pointer to one, or a run, of which an export is made in `out`. Options
    and errors are those of `mmjax.serve.bulk.running.predict_rows`. In a job of several processes
    (`mmjax launch`) a run is spread over all of them, and each writes a file of its share.
    """
    files_of(Path(rows))
    if not isinstance(model, Run) and (Path(model).is_file() or _exported(Path(model))):
        return running.predict_rows(model, rows, out, **options)
    if initialize():
        return spanning(model if isinstance(model, Run) else load_run(model), rows, out, **options)
    return running.predict_rows(_made(model, Path(out) / MODEL), rows, out, **options)


def _exported(folder: Path) -> bool:
    return (folder / folders.MANIFEST).is_file()


def _made(model: Run | str | os.PathLike, folder: Path) -> Path:
    """The export of a run in a job's folder, made if it is not there."""
    run = model if isinstance(model, Run) else load_run(model)
    if not _exported(folder):
        try:
            return export(run, folder, measure=False)
        except (CheckpointError, OSError) as error:
            # Another share of the job was faster.
            taken = getattr(error, "errno", None) in (errno.ENOTEMPTY, errno.EEXIST)
            if not (taken or getattr(error, "code", None) == 601) or not _exported(folder):
                raise
    known = read_json(folder / folders.MANIFEST)["metadata"]["config"]
    if known != run.folder.config_hash():
        raise CheckpointError(
            609, "the job there is of another run", where=str(folder), fix="name another folder"
        )
    return folder


def spanning(
    run: Run,
    rows: str | os.PathLike,
    out: str | os.PathLike,
    *,
    resume: bool = False,
    id_column: str | None = None,
    root: str | None = None,
    block: int = running.BLOCK,
    threads: int = 4,
    progress: running.Progress | None = None,
    workers: int | None = None,
    ray: str | None = None,
    shard: tuple[int, int] | None = None,
    filter: str | None = None,
) -> Path:
    """As `predict_rows`, by one model over the devices of all processes, which go in step.

    Each round answers a block of each process, and each writes its own. Raises ConfigError for
    options that spread rows otherwise.
    """
    for name, value in (("workers", workers), ("ray", ray), ("filter", filter)):
        if value is not None:
            raise ConfigError(109, f"{name}={value} in a job of several processes", fix="leave it")
    place, count = jax.process_index(), jax.process_count()
    if shard is not None and shard != (0, 1):
        raise ConfigError(109, f"shard={shard} in a job of several processes", fix="leave it")
    columns = tuple(run.columns_of({}))
    own_id = run.config.data.id_column
    reads = tuple(name for name in columns if name != own_id)
    found = plan(
        Path(rows), columns=reads, size=block, root=root, id_column=id_column, wanted_id=own_id
    )
    job = Job(Path(out), found, f"{run.folder.config_hash()} {run.step}", place, count)
    with job.held(resume=resume), _one_bad_row_alone(run):
        open_blocks = {one.number for one in job.pending()}
        rounds = -(-len(found.blocks) // count)
        mine = np.array([r * count + place in open_blocks for r in range(rounds)])
        work = Work("", found.source, str(job.parts), threads)
        for number in np.flatnonzero(_anywhere(mine)).tolist():
            blocks = found.blocks[number * count : (number + 1) * count]
            own = number * count + place
            lines = _answered(run, work, blocks, own)
            if own in open_blocks:
                work.write(found.blocks[own], lines)
            if progress is not None:
                progress(min((number + 1) * block * count, found.rows), found.rows)
        return job.finish()


def _anywhere(mine: np.ndarray) -> np.ndarray:
    """Which rounds any process has still to write."""
    if jax.process_count() == 1:
        return mine
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(mine).any(axis=0)


@contextlib.contextmanager
def _one_bad_row_alone(run: Run) -> Iterator[None]:
    before = run.config
    data = dataclasses.replace(
        before.data,
        on_bad_sample="quarantine",
        max_bad_fraction=1.0,
        max_bad=sys.maxsize,
        id_column=None,
    )
    run.config = dataclasses.replace(before, data=data)
    try:
        yield
    finally:
        run.config = before


def _answered(run: Run, work: Work, blocks: tuple[Block, ...], own: int) -> list[str]:
    """The lines of the block `own`; the model answers all of `blocks`."""
    source = work.source
    rows = [row for block in blocks for row in source.read(block)]
    table = {name: [row[name] for row in rows] for name in source.columns}
    dataset = run.dataset(table, root=str(source.root_of(blocks[0])))
    said = {one["row"]: one for one in run.predict_dataset(dataset)}
    bad = {one.row: one for one in dataset.quarantine.found}
    lines, start = [], 0
    for block in blocks:
        for place in range(block.rows) if block.number == own else ():
            row, at = start + place, block.first + place
            column = source.id_column
            name = {"row": at, "id": at if column is None else rows[row][column]}
            answer = {k: v for k, v in said.get(row, {}).items() if k not in ("row", "id")}
            lines.append(as_json({**name, **(answer or _error(bad.get(row)))}))
        start += block.rows
    return lines


def _error(bad: Quarantined | None) -> dict[str, Any]:
    return failed(223, "the row was left out") if bad is None else failed(bad.code, bad.message)
