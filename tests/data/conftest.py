"""Tar shards that several files of tests read."""

from __future__ import annotations

import pytest
from tar_files import samples, write_tar


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of kept indexes, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mmjax" / "indexes"


@pytest.fixture
def folder(tmp_path):
    """Four shards of ten samples."""
    for i in range(4):
        write_tar(tmp_path / "shards" / f"train-{i:03d}.tar", samples(10 * i, 10))
    return tmp_path / "shards"
