"""Which exported folder is served: a file that is replaced whole, and knows what came before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmjax.core.errors import CheckpointError
from mmjax.core.files import read_json, write_json
from mmjax.export import folder as folders

_MOST = 20
"""Folders that a pointer remembers."""


def point(pointer: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Serves `folder` from now on; what was served before is remembered.

    The file is replaced at once: whoever reads it finds the one or the other. Raises
    CheckpointError for a folder that is not whole, and a pointer that is damaged.
    """
    digest = folders.opened(folder).digest
    now = {"folder": str(Path(folder).resolve()), "digest": digest}
    before: list[dict[str, str]] = []
    if Path(pointer).exists():
        known = _read(Path(pointer))
        before = [known["current"], *known["before"]][:_MOST]
    write_json(pointer, {"current": now, "before": before})
    return Path(now["folder"])


def roll_back(pointer: str | os.PathLike) -> Path:
    """Serves what was served before again, which is then forgotten as a thing of the past.

    Raises CheckpointError where nothing was, or where it is no longer what it was.
    """
    known = _read(Path(pointer))
    if not known["before"]:
        raise CheckpointError(
            665, "nothing was served before", where=str(pointer), fix="mmjax promote names a folder"
        )
    first, *rest = known["before"]
    _verified(first, pointer)
    write_json(pointer, {"current": first, "before": rest})
    return Path(first["folder"])


def pointed(pointer: str | os.PathLike) -> Path:
    """The folder that is served now. Raises CheckpointError if it is not what was promoted."""
    current = _read(Path(pointer))["current"]
    _verified(current, pointer)
    return Path(current["folder"])


def _verified(entry: dict[str, str], pointer: str | os.PathLike) -> None:
    found = folders.opened(entry["folder"]).digest
    if found != entry["digest"]:
        raise CheckpointError(
            665,
            f"'{entry['folder']}' is not what was promoted: its digest is {found[:12]}, not "
            f"{entry['digest'][:12]}",
            where=str(pointer),
            fix="restore the folder, or promote it again",
        )


def _read(pointer: Path) -> dict[str, Any]:
    try:
        found = read_json(pointer)
        whole = {"folder", "digest"} <= found["current"].keys()
        if not whole or not isinstance(found["before"], list):
            raise KeyError("folder")
    except FileNotFoundError:
        raise CheckpointError(
            660, f"there is no pointer '{pointer}'", fix="mmjax promote POINTER FOLDER makes one"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            665, "the pointer is damaged", where=str(pointer), fix="promote a folder again"
        ) from error
    return found
