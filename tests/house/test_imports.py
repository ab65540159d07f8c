"""Which room may know of which, and what `import mmjax` may cost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from package_files import PACKAGE, ROOMS, files, nodes, place, room_of, tree

_PLACE = re.compile(r"mmjax(\.\w+)+(:\w+)?")


def imported(node: ast.AST, path: Path) -> Iterator[str]:
    """The dotted modules that a node imports; registries name theirs in strings."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = ("mmjax", *path.relative_to(PACKAGE).parts[: -node.level])
            base = ".".join([*package, *([base] if base else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and _PLACE.fullmatch(str(node.value)):
        yield node.value.partition(":")[0]


def wrong_way(path: Path, node: ast.AST) -> list[str]:
    """What a node imports from rooms after its own."""
    room = room_of(path)
    names = [name.split(".") for name in imported(node, path)]
    rooms = [parts[1] for parts in names if parts[0] == "mmjax" and len(parts) > 1]
    return [r for r in rooms if r in ROOMS and ROOMS.index(r) > ROOMS.index(room)]


def test_every_room_is_listed():
    found = {room_of(path) for path in files()} - {""}
    assert found <= set(ROOMS), (
        "a room not in tests/house/package_files.py; DESIGN says where it belongs"
    )


def test_imports_go_one_way():
    wrong = [
        f"{place(path, node)}: {room_of(path)} imports from {later}, a room after it"
        for path, node in nodes()
        if room_of(path)
        for later in wrong_way(path, node)
    ]
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize(
    ("source", "later"),
    [
        ("from mmjax.train.config import Config", ["train"]),
        ("def f():\n    import mmjax.api.run", ["api"]),
        ("from mmjax import encoders, tasks", ["encoders", "tasks"]),
        ("from ..tasks import registry", ["tasks"]),
        ("REGISTRY = {'a': 'mmjax.models.a:A'}", ["models"]),
        ("from mmjax.core.types import Batch\nfrom mmjax.nn import dense", []),
    ],
)
def test_the_direction_test_sees(source, later):
    path = PACKAGE / "nn" / "imagined.py"
    found = [room for node in ast.walk(ast.parse(source)) for room in wrong_way(path, node)]
    assert found == later


def test_no_torch_and_no_tensorflow():
    refused = {"torch", "tensorflow", "numba"}
    wrong = [
        f"{place(path, node)}: {name}"
        for path, node in nodes()
        for name in imported(node, path)
        if name.split(".")[0] in refused
    ]
    assert not wrong, "\n".join(["", *wrong])


def test_files_open_with_the_annotations_import():
    wrong = [
        place(path, path_tree)
        for path in files()
        for path_tree in [tree(path)]
        if any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in ast.walk(path_tree))
        and not any(
            isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in path_tree.body
        )
    ]
    assert not wrong, "\n".join(["add `from __future__ import annotations`:", *wrong])


def test_import_mmjax_is_light():
    """Names are lazy: nothing heavy is imported, so `import mmjax` costs nothing beside jax."""
    heavy = ("jax", "flax", "transformers", "tensorflow", "torch", "orbax", "grain", "matplotlib")
    code = f"import mmjax, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_shown_by_mmjax_is_there():
    import mmjax

    for name in mmjax.__all__:
        assert getattr(mmjax, name) is not None
