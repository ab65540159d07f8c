"""Which folder is served: replaced whole, taken back, and checked."""

from __future__ import annotations

import json

import pytest

from mmjax.cli import main
from mmjax.core.errors import CheckpointError
from mmjax.export import folder as folders
from mmjax.export.pointer import point, pointed, roll_back


def _export(path):
    """A folder that is whole, with nothing in it that could be run."""
    with folders.writing(path) as folder:
        folders.write_manifest(folder, {"name": path.name})
        for name in (folders.PARAMETERS, folders.CARD):
            (folder / name).write_text(path.name)
    return path


def test_a_pointer_goes_on_and_back(tmp_path, capsys):
    first, second = _export(tmp_path / "first"), _export(tmp_path / "second")
    pointer = tmp_path / "served.json"
    assert main(["promote", str(pointer), str(first)]) == 0
    assert main(["promote", str(pointer), str(second)]) == 0
    assert pointed(pointer) == second
    assert main(["promote", str(pointer)]) == 0
    assert "second" in capsys.readouterr().out
    assert main(["promote", str(pointer), "--rollback"]) == 0
    assert pointed(pointer) == first
    assert main(["promote", str(pointer), "--rollback"]) == 2
    assert "nothing was served before" in capsys.readouterr().err
    assert main(["promote", str(pointer), str(first), "--rollback"]) == 2
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["first", "second", "served.json"]


def test_what_is_not_what_was_promoted_is_not_served(tmp_path):
    first, second = _export(tmp_path / "first"), _export(tmp_path / "second")
    pointer = tmp_path / "served.json"
    with pytest.raises(CheckpointError, match="no pointer"):
        pointed(pointer)
    point(pointer, first)
    point(pointer, second)
    (first / folders.CARD).write_text("other")
    with pytest.raises(CheckpointError, match="damaged"):
        roll_back(pointer)
    assert pointed(pointer) == second
    (first / folders.SUMS).unlink()
    folders._write_sums(first)
    with pytest.raises(CheckpointError, match="not what was promoted"):
        roll_back(pointer)
    with pytest.raises(CheckpointError, match="no exported model"):
        point(pointer, tmp_path / "third")
    assert pointed(pointer) == second
    pointer.write_text(json.dumps({"current": []}))
    with pytest.raises(CheckpointError, match="pointer is damaged"):
        pointed(pointer)
