"""Which modality a query goes to, where several read the same kind."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmjax.api.searching import known_modality, modality_of
from mmjax.api.zero_shot import modality_of_kind
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec


def _run(**modalities):
    specs = {name: Spec(kind) for name, kind in modalities.items()}
    return SimpleNamespace(config=SimpleNamespace(data=SimpleNamespace(modalities=specs)))


def test_several_texts_are_of_kind_text():
    run = _run(title="texts", picture="image")
    assert modality_of(run, "red apple") == modality_of_kind(run, "text", None) == "title"
    assert known_modality(run, "title") == "title"


def test_of_several_the_one_named_like_the_kind():
    run = _run(pieces="text", text="texts", picture="image")
    assert modality_of(run, "red apple") == modality_of_kind(run, "text", None) == "text"


def test_otherwise_one_must_be_named():
    run = _run(pieces="text", title="texts", picture="image")
    with pytest.raises(ConfigError, match="several read text"):
        modality_of(run, "red apple")
    with pytest.raises(ConfigError, match="2 modalities"):
        modality_of_kind(run, "text", None)
