"""Golden cases as loaded encoders, each loaded once."""

from __future__ import annotations

from collections.abc import Callable

import goldens
import pytest

from mmjax.pretrained.load import Pretrained, load


@pytest.fixture(scope="session")
def golden_encoder(tmp_path_factory) -> Callable[[str], tuple[goldens.Golden, Pretrained]]:
    """`golden, encoder = golden_encoder("bert")`."""
    found: dict[str, tuple[goldens.Golden, Pretrained]] = {}

    def get(name: str) -> tuple[goldens.Golden, Pretrained]:
        if name not in found:
            golden = goldens.load(name)
            folder = goldens.write_folder(golden, tmp_path_factory.mktemp(name))
            found[name] = golden, load(folder, **golden.options)
        return found[name]

    return get
