"""The step folders of a run: listing, setting aside, removing, and room on the disk.

checkpoints/
    1200/state/...  1200/MMJAX_MANIFEST.json     a checkpoint
    1800.uncommitted/                            being saved; or left by a dead run
    600.deleted/                                 being removed; or left by a dead run
    900.quarantined/                             damaged; never removed, never read
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path

from mmjax.checkpoint.manifest import NAME, DamagedError, Manifest
from mmjax.core.errors import CheckpointError

STATE = "state"
EXCHANGE = ".exchange"
_STEP = re.compile(r"0|[1-9][0-9]*")

_log = logging.getLogger(__name__)


def step_folders(folder: Path) -> list[int]:
    """The steps that have a folder, committed or damaged, newest first."""
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted((int(name) for name in names if _STEP.fullmatch(name)), reverse=True)


def uncommitted(folder: Path, step: int) -> Path:
    return folder / f"{step}.uncommitted"


def quarantined(folder: Path) -> list[str]:
    """The names of the step folders that were set aside."""
    return sorted(path.name for path in folder.glob("*.quarantined*")) if folder.is_dir() else []


def quarantine(folder: Path, step: int) -> Path:
    """Sets a damaged step aside under a free name."""
    target = folder / f"{step}.quarantined"
    number = 2
    while target.exists():
        target = folder / f"{step}.quarantined-{number}"
        number += 1
    os.rename(folder / str(step), target)
    return target


def commit(folder: Path, step: int) -> None:
    """Gives a finished save its name; a step of that name is replaced."""
    old = folder / f"{step}.deleted"
    if (folder / str(step)).exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder / str(step), old)
    os.rename(uncommitted(folder, step), folder / str(step))
    _sync(folder)
    shutil.rmtree(old, ignore_errors=True)


def discard(folder: Path, step: int) -> None:
    """Removes what a failed save of this process left."""
    shutil.rmtree(uncommitted(folder, step), ignore_errors=True)


def remove(folder: Path, step: int) -> None:
    """Removes a step; killed half-way, it is a step no more."""
    doomed = folder / f"{step}.deleted"
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(folder / str(step), doomed)
    shutil.rmtree(doomed)


def clean(folder: Path) -> None:
    """Removes what a dead run left half-made; the caller holds the run's lock.

    A save whose manifest is written is complete but for its name, and gets it.
    """
    for path in sorted(folder.iterdir()):
        step, _, kind = path.name.partition(".")
        if kind == "uncommitted" and not (folder / step).exists() and _complete(path):
            os.rename(path, folder / step)
            _log.warning("step %s was saved in full by a run that died; it is taken", step)
        elif kind in ("uncommitted", "deleted") or path.name == EXCHANGE:
            shutil.rmtree(path, ignore_errors=True)
            _log.info("removed %s, left by a run that died", path)


def _complete(path: Path) -> bool:
    if not (path / NAME).exists():
        return False
    try:
        Manifest.read(path)
    except DamagedError:
        return False
    return True


def require_space(folder: Path, needed: int) -> None:
    """Raises CheckpointError if fewer than `needed` bytes are free on the disk of `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            609,
            f"a checkpoint needs {needed / 1e6:.1f} MB free (1.2 times its size), "
            f"{free / 1e6:.1f} MB are",
            where=str(folder),
            fix="free space, keep fewer checkpoints, or use another --workdir",
        )


def _sync(folder: Path) -> None:
    """Makes a rename durable where the system allows it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
