"""The package's source as the house tests read it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mmjax"

ROOMS = (
    "core",
    "kernels",
    "parallel",
    "nn",
    "data",
    "metrics",
    "generate",
    "encoders",
    "fusion",
    "adapt",
    "objectives",
    "tasks",
    "models",
    "pretrained",
    "checkpoint",
    "writers",
    "train",
    "explain",
    "report",
    "export",
    "serve",
    "api",
    "cli",
)
"""A file may import only from its own room and from rooms before it."""


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@functools.cache
def room_of(path: Path) -> str:
    """The room that a file of the package lies in; empty for those of the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts in (("__init__",), ("__main__",)) else parts[0]


def place(path: Path, node: ast.AST) -> str:
    """`mmjax/core/config.py:12`, as editors open it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@functools.cache
def nodes() -> list[tuple[Path, ast.AST]]:
    """Every syntax node of the package, with its file."""
    return [(path, node) for path in files() for node in ast.walk(tree(path))]
