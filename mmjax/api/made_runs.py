"""Run folders that no training made: the weights of a run, changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjax.checkpoint.load import load_arrays
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.checkpoint.store import Checkpoints
from mmjax.core import config as config_lib
from mmjax.core.files import write_json
from mmjax.train.config import Config
from mmjax.train.selection import mode_of

if TYPE_CHECKING:
    from mmjax.api.run import Run

ABOUT = ("facts.json", "data_summary.json", "status.json")
"""Files of a run that are true of others of the same data and the same model."""


def evaluated(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the run evaluates with: parameters, averaged where they are, and collections."""
    found = load_arrays(run.folder.path, run.step, prefixes=("params", "ema", "collections"))
    return found.get("ema") or found["params"], found.get("collections", {})


def write_run(
    run: Run,
    out: str | os.PathLike,
    config: Config,
    params: Mapping[str, Any],
    collections: Mapping[str, Any],
    *,
    copied: Sequence[str] = ABOUT,
) -> Path:
    """A run folder with this config and these weights, and for the rest what `run` has.

    It has one checkpoint, of the step that `run` is at. Raises CheckpointError if `out` is a run.
    """
    folder = RunFolder(Path(out)).create()
    source = run.folder
    shutil.copytree(source.processors, folder.processors, dirs_exist_ok=True)
    for name in copied:
        if (source.path / name).is_file():
            shutil.copy2(source.path / name, folder.path / name)
    with Checkpoints(folder.checkpoints) as checkpoints:
        state = {"params": params, "collections": collections}
        checkpoints.save(_step(run), state, data_state={})
        checkpoints.wait()
    write_json(folder.config, config_lib.to_json(config))
    return folder.path


def _step(run: Run) -> int:
    if run.step not in ("best", "latest"):
        return int(run.step)
    metric = run.config.train.best_metric
    with Checkpoints(
        run.folder.checkpoints, readonly=True, best_metric=metric, best_mode=mode_of(metric)
    ) as checkpoints:
        best = checkpoints.best() if run.step == "best" else None
        return best if best is not None else checkpoints.latest() or 0
