"""Which checkpoints runs crashed after restoring; a kill or a preemption is no crash."""

from __future__ import annotations

from pathlib import Path

from mmjax.checkpoint.manifest import DamagedError
from mmjax.core.files import read_json, write_json

MOST = 2
"""So many crashes, and the checkpoint is not resumed from again."""

_NAME = "crashes.json"


def note(folder: Path, step: int, reason: str) -> None:
    found = _read(folder)
    found.setdefault(str(step), []).append(reason)
    write_json(folder / _NAME, found)


def require_few(folder: Path, step: int) -> None:
    """Raises DamagedError if runs crashed after restoring `step` too often."""
    reasons = _read(folder).get(str(step), [])
    if len(reasons) >= MOST:
        raise DamagedError(f"{len(reasons)} runs crashed after restoring it: {reasons[-1]}")


def forget(folder: Path) -> None:
    """A newer checkpoint was saved, so the run got past them."""
    (folder / _NAME).unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, list[str]]:
    try:
        return read_json(folder / _NAME)
    except (FileNotFoundError, ValueError):
        return {}
