"""Typed configs: frozen dataclasses, checked against their annotations, changed by dotted paths.

A config holds plain values, tuples, mappings, other config dataclasses, and `Spec`s annotated with
the registry that they name a member of (`Annotated[Spec, registry]`). From that alone this module
checks it, changes it (`model.fusion.width=256`), writes it as JSON with every default spelled out,
and builds it again from that JSON.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import runpy
import traceback
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from mmjax.core.errors import ConfigError, MMJaxError, nearest
from mmjax.core.files import as_tuples
from mmjax.core.registry import Registry, Spec

T = TypeVar("T")

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def load(path: str | Path) -> Any:
    """The config that `get_config()` of a Python file returns."""
    path = Path(path)
    if not path.is_file():
        siblings = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise ConfigError(104, f"no config file '{path}'", fix=nearest(str(path), siblings))
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            raise ConfigError(104, f"'{path}' has no function get_config()", fix="define it")
        return get_config()
    except MMJaxError:
        raise
    except Exception as error:
        raise ConfigError(
            104,
            f"the config file fails: {type(error).__name__}: {error}",
            where=_line_of(path, error),
            fix="correct that line",
        ) from error


def _line_of(path: Path, error: Exception) -> str:
    """`file:line` of an error, the last line of the file itself that led to it."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def check(config: T) -> T:
    """The config with every value checked against its annotation; raises ConfigError."""
    return _coerce(type(config), config, "", text=False)


def override(config: T, changes: Sequence[str] | Mapping[str, Any]) -> T:
    """The config with `"dotted.key=value"` strings, or `{key: value}`, applied and checked."""
    if isinstance(changes, Mapping):
        pairs: list[tuple[str, Any, bool]] = [
            (k, v, isinstance(v, str)) for k, v in changes.items()
        ]
    else:
        pairs = []
        for change in changes:
            key, equals, value = change.partition("=")
            if not equals:
                raise ConfigError(
                    105, f"'{change}' is not of the form key=value", fix=f"write {change}=..."
                )
            pairs.append((key.strip(), value, True))
    for key, value, text in pairs:
        config = _set(type(config), config, key.split("."), value, "", text)
    return check(config)


def to_json(config: Any) -> Any:
    """JSON values of a config, with the defaults of every `Spec` spelled out."""
    return _dump(type(config), config)


def from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    """The config of type `cls` that `to_json` wrote; unknown keys are refused."""
    return _coerce(cls, data, "", text=False)


def spec_to_json(registry: Registry, spec: Spec) -> Any:
    """JSON values of a `Spec` alone, with its defaults spelled out."""
    return _dump(typing.Annotated[Spec, registry], spec)


def spec_from_json(registry: Registry, data: Mapping[str, Any]) -> Spec:
    """The `Spec` that `spec_to_json` wrote; unknown names are refused."""
    return _coerce(typing.Annotated[Spec, registry], data, registry.kind, text=False)


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """`"path: a -> b"` for every leaf where two JSON trees differ."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        found = []
        for key in [*ours, *(k for k in theirs if k not in ours)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in ours or key not in theirs:
                found.append(f"{below}: {ours.get(key, 'absent')} -> {theirs.get(key, 'absent')}")
            else:
                found.extend(differences(ours[key], theirs[key], below))
        return found
    return [] if ours == theirs else [f"{path}: {ours} -> {theirs}"]


def _registry_of(annotation: Any) -> Registry | None:
    if typing.get_origin(annotation) is typing.Annotated:
        return next((a for a in annotation.__metadata__ if isinstance(a, Registry)), None)
    return None


def _is_dataclass(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _members(annotation: Any) -> tuple[Any, ...] | None:
    """The members of a union, or None."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return typing.get_args(annotation)
    return None


def _fields(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _describe(annotation: Any) -> str:
    registry = _registry_of(annotation)
    if registry is not None:
        return f"a {registry.kind}"
    if typing.get_origin(annotation) is Literal:
        return "one of " + ", ".join(repr(value) for value in typing.get_args(annotation))
    members = _members(annotation)
    if members is not None:
        return " or ".join(_describe(member) for member in members)
    if annotation is type(None):
        return "none"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _mistyped(annotation: Any, value: Any, path: str) -> ConfigError:
    fix = f"expected {_describe(annotation)}"
    if typing.get_origin(annotation) is Literal:
        fix = nearest(str(value), map(str, typing.get_args(annotation)))
    return ConfigError(106, f"{path} = {value!r} has the wrong type", fix=fix)


def _coerce(annotation: Any, value: Any, path: str, *, text: bool) -> Any:
    """`value` as `annotation` wants it. `text` marks a string that a user typed."""
    registry = _registry_of(annotation)
    if registry is not None:
        return _coerce_spec(registry, value, path, text=text)
    members = _members(annotation)
    if members is not None:
        return _coerce_union(annotation, members, value, path, text=text)
    origin = typing.get_origin(annotation)
    if origin is Literal:
        for choice in typing.get_args(annotation):
            if value == choice or (text and value == str(choice)):
                return choice
        raise _mistyped(annotation, value, path)
    if _is_dataclass(annotation):
        return _coerce_dataclass(annotation, value, path)
    if text and (annotation is Any or origin in (tuple, Mapping, dict) or _is_mapping(origin)):
        value = _literal(value)
    if annotation is Any:
        return value
    if origin is tuple:
        return _coerce_tuple(annotation, value, path)
    if _is_mapping(origin):
        if not isinstance(value, Mapping):
            raise _mistyped(annotation, value, path)
        _, inner = typing.get_args(annotation)
        return {k: _coerce(inner, v, _join(path, k), text=False) for k, v in value.items()}
    return _coerce_scalar(annotation, value, path, text=text)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _literal(value: str) -> Any:
    """What a user's text stands for: JSON, a Python literal, `a,b`, or the text itself."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError):
            continue
    return [_literal(part.strip()) for part in value.split(",")] if "," in value else value


def _coerce_scalar(annotation: Any, value: Any, path: str, *, text: bool) -> Any:
    if annotation is str and isinstance(value, str):
        return value
    if annotation is bool:
        if text and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if isinstance(value, bool):
            return value
    elif annotation is int:
        if text and isinstance(value, str) and _INTEGER.fullmatch(value):
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif annotation is float:
        if text and isinstance(value, str) and _NUMBER.fullmatch(value):
            return float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif annotation is type(None):
        if value is None or (text and str(value).lower() in ("none", "null")):
            return None
    elif isinstance(annotation, type) and isinstance(value, annotation):
        return value
    raise _mistyped(annotation, value, path)


def _coerce_union(annotation: Any, members: tuple, value: Any, path: str, *, text: bool) -> Any:
    ordered = sorted(members, key=lambda member: (member is not type(None), member is str))
    failures = []
    for member in ordered:
        try:
            return _coerce(member, value, path, text=text)
        except ConfigError as error:
            failures.append((member, error))
    structured = [e for m, e in failures if _registry_of(m) or _is_dataclass(m)]
    if structured and not isinstance(value, (int, float)):
        raise structured[0]
    raise _mistyped(annotation, value, path)


def _coerce_tuple(annotation: Any, value: Any, path: str) -> tuple:
    if isinstance(value, str) or not isinstance(value, Sequence):
        value = (value,)
    inner = typing.get_args(annotation)
    if len(inner) == 2 and inner[1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(inner) != len(value):
        raise _mistyped(annotation, value, path)
    return tuple(
        _coerce(one, item, f"{path}[{i}]", text=False)
        for i, (one, item) in enumerate(zip(inner, value, strict=True))
    )


def _coerce_dataclass(cls: type, value: Any, path: str) -> Any:
    fields = _fields(cls)
    if isinstance(value, cls):
        given = {name: getattr(value, name) for name in fields}
    elif isinstance(value, Mapping):
        given = dict(value)
        for key in given:
            if key not in fields:
                raise _unknown(path, key, fields)
    else:
        raise _mistyped(cls, value, path)
    checked = {k: _coerce(fields[k], v, _join(path, k), text=False) for k, v in given.items()}
    try:
        return cls(**checked)
    except TypeError as error:
        raise ConfigError(103, f"{path or cls.__name__}: {error}", fix="give it") from error


def _coerce_spec(registry: Registry, value: Any, path: str, *, text: bool) -> Spec:
    if isinstance(value, str):
        value = _literal(value) if text and value.startswith("{") else Spec(value)
    if isinstance(value, Mapping):
        options = dict(value)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise ConfigError(103, f"{path} needs a 'name'", fix=nearest("", registry))
        value = Spec(name, **options)
    if not isinstance(value, Spec):
        raise _mistyped(typing.Annotated[Spec, registry], value, path)
    if value.name not in registry:
        raise ConfigError(
            102,
            f"unknown {registry.kind} '{value.name}'",
            where=path,
            fix=nearest(value.name, registry),
        )
    settings = registry.settings(value.name)
    facts = registry.facts(value.name)
    options = {}
    for key, option in value.options.items():
        if key in settings:
            options[key] = _coerce(settings[key].type, option, _join(path, key), text=False)
        elif key in facts:
            options[key] = as_tuples(option)
        else:
            raise _unknown(path, key, settings)
    return Spec(value.name, **options)


def _unknown(path: str, key: str, valid: Mapping[str, Any]) -> ConfigError:
    return ConfigError(101, f"unknown key '{_join(path, key)}'", fix=nearest(key, valid))


def _set(annotation: Any, value: Any, keys: list[str], raw: Any, path: str, text: bool) -> Any:
    """`value` with the leaf at `keys` replaced by `raw`."""
    members = _members(annotation)
    if members is not None and keys:
        annotation = _member_with_keys(members, value)
        if value is None and _is_dataclass(annotation):
            value = annotation()
    registry = _registry_of(annotation)
    if not keys:
        return _replaced(annotation, registry, value, raw, path, text)
    key, rest = keys[0], keys[1:]
    below = _join(path, key)
    if registry is not None and value is not None:
        if key == "name" and not rest:
            return _replaced(annotation, registry, value, raw, path, text)
        settings = registry.settings(value.name)
        if key not in settings:
            raise _unknown(path, key, settings)
        current = value.options.get(key, settings[key].default)
        return value.replace(**{key: _set(settings[key].type, current, rest, raw, below, text)})
    if _is_dataclass(annotation):
        fields = _fields(annotation)
        if key not in fields:
            raise _unknown(path, key, fields)
        new = _set(fields[key], getattr(value, key), rest, raw, below, text)
        return dataclasses.replace(value, **{key: new})
    if _is_mapping(typing.get_origin(annotation)):
        if key not in value and rest:
            raise _unknown(path, key, value)
        inner = typing.get_args(annotation)[1]
        return {**value, key: _set(inner, value.get(key), rest, raw, below, text)}
    raise ConfigError(101, f"unknown key '{below}'", fix=f"'{path}' has no keys below it")


def _replaced(annotation: Any, registry: Registry | None, value: Any, raw: Any, path: str, text):
    new = _coerce(annotation, raw, path, text=text)
    if registry is not None and isinstance(value, Spec) and not new.options:
        # Another name keeps the options it shares, so `model.fusion=concat` keeps its width.
        settings = registry.settings(new.name)
        new = Spec(new.name, **{k: v for k, v in value.options.items() if k in settings})
    return new


def _member_with_keys(members: tuple, value: Any) -> Any:
    for member in members:
        if _registry_of(member) or _is_dataclass(member):
            return member
        if _is_mapping(typing.get_origin(member)) and isinstance(value, Mapping):
            return member
    return next(member for member in members if member is not type(None))


def _dump(annotation: Any, value: Any) -> Any:
    members = _members(annotation)
    if members is not None and value is not None:
        annotation = _member_with_keys(members, value)
    registry = _registry_of(annotation)
    if registry is not None and isinstance(value, Spec):
        settings = registry.settings(value.name)
        options = {k: value.options.get(k, s.default) for k, s in settings.items()}
        types_ = {k: s.type for k, s in settings.items()}
        facts = {k: v for k, v in value.options.items() if k not in settings}
        required = {k: v for k, v in options.items() if v is not dataclasses.MISSING}
        dumped = {k: _dump(types_[k], v) for k, v in required.items()}
        return {"name": value.name, **dumped, **facts}
    if _is_dataclass(type(value)):
        # A field that is newer than stored configs is left out by default: their hashes stay.
        new = {f.name for f in dataclasses.fields(value) if "unsaid" in f.metadata}
        plain = type(value)() if new else None
        said = {k: (hint, getattr(value, k)) for k, hint in _fields(type(value)).items()}
        kept = (k for k, (_, one) in said.items() if k not in new or one != getattr(plain, k))
        return {k: _dump(*said[k]) for k in kept}
    args = typing.get_args(annotation) or (Any, Any)
    if isinstance(value, Mapping):
        return {k: _dump(args[1], v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_dump(args[0], item) for item in value]
    return value
