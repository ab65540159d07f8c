"""Every registered name imports, is a documented dataclass with typed settings, and builds."""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import importlib
import types
import typing

import pytest
from package_files import PACKAGE, files, tree

from mmjax.core.extras import MissingExtra
from mmjax.core.registry import Registry, Spec


def registries() -> list[Registry]:
    """Every `name = Registry(...)` at the top of a module."""
    found = []
    for path in files():
        for node in tree(path).body:
            made = isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
            if made and getattr(node.value.func, "id", "") == "Registry":
                parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
                module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
                found.extend(getattr(module, target.id) for target in node.targets)
    return found


REGISTRIES = registries()
ENTRIES = [pytest.param(one, name, id=f"{one.kind}-{name}") for one in REGISTRIES for name in one]

REQUIRED = {str: "column", int: 4, float: 1.0, bool: False}
"""A value for each setting that has no default, by its type."""

ONE_OF_SEVERAL = {
    ("modality", "table"): {"numbers": ("column",)},
    ("target", "boxes"): {"size": ("width", "height")},
}
"""What is needed though each setting has a default."""


def value_for(annotation: typing.Any) -> typing.Any:
    if typing.get_origin(annotation) is tuple:
        return tuple(value_for(a) for a in typing.get_args(annotation) if a is not Ellipsis)
    if typing.get_origin(annotation) is collections.abc.Mapping:
        return {value_for(str): value_for(typing.get_args(annotation)[1])}
    if typing.get_origin(annotation) is typing.Annotated:
        return Spec(next(iter(annotation.__metadata__[0])))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return value_for(typing.get_args(annotation)[0])
    return REQUIRED[annotation]


def test_kinds_are_told_apart():
    kinds = [one.kind for one in REGISTRIES]
    assert len(kinds) == len(set(kinds)) >= 6


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_entry(registry, name, tmp_path):
    cls = registry.load(name)
    assert dataclasses.is_dataclass(cls)
    documented = cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}(")
    assert documented, f"{cls.__module__}.{cls.__name__} needs a docstring"
    settings = registry.settings(name)
    untyped = [key for key, setting in settings.items() if setting.type is typing.Any]
    assert not untyped, f"settings are checked by their type, and these have none: {untyped}"
    required = {
        key: value_for(setting.type)
        for key, setting in settings.items()
        if setting.default is dataclasses.MISSING
    }
    required |= ONE_OF_SEVERAL.get((registry.kind, name), {})
    facts = {"path": tmp_path / "file", "folder": tmp_path}
    try:
        built = registry.build(name, facts=facts, **required)
    except MissingExtra as error:
        pytest.skip(f"{error.what}: {error.fix}")
    assert isinstance(built, cls)
    assert all(getattr(built, key) == value for key, value in required.items())
