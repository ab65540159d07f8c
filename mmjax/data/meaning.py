"""Whether an encoder that was trained on one modality can read another."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.config import modalities as registry


def meaning(spec: Spec) -> dict[str, Any]:
    """The settings of a modality that give its numbers their meaning, defaults spelled out."""
    names: tuple[str, ...] = getattr(registry.load(spec.name), "meaning", ())
    settings = registry.settings(spec.name)
    found = {name: spec.options.get(name, settings[name].default) for name in names}
    return {name: None if one is dataclasses.MISSING else one for name, one in found.items()}


def require_same_meaning(ours: Spec, theirs: Spec, *, where: str, run: str, name: str) -> None:
    """Raises one ConfigError that names all settings by which two modalities differ in meaning.

    `where` is the path of ours in the config; theirs is the modality `name` of `run`.
    """
    own, other = meaning(ours), meaning(theirs)
    differing = [key for key in {**other, **own} if own.get(key) != other.get(key)]
    if not differing:
        return
    told = [f"{key} {own.get(key)!r} here, {other.get(key)!r} there" for key in differing]
    known = [key for key in differing if key in own and key in other]
    settings = " ".join(f"{where}.{key}={other[key]}" for key in known)
    raise ConfigError(
        109,
        f"the encoder of '{name}' in '{run}' was trained on other numbers: {'; '.join(told)}",
        where=where,
        fix=settings or f"a modality of kind {theirs.name}, as there",
    )
