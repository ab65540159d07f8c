"""Lazy registries: a name, and the class that is imported only when it is built.

A registered class is a dataclass (a Linen module is one). Its fields are its settings, so a new
component needs no second declaration of its options. Fields made with `fact(...)` are not settings:
they are facts of the data or the run (vocabulary size, number of labels, dtype) that the caller of
`build` passes in.
"""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from mmjax.core.errors import ConfigError, nearest


def fact(default: Any = None) -> Any:
    """A dataclass field that is given by the data or the run, not by the config."""
    return dataclasses.field(default=default, metadata={"fact": True})


@dataclasses.dataclass(frozen=True, init=False)
class Spec:
    """What to build: a registered name, and the options that differ from its defaults."""

    name: str
    options: Mapping[str, Any]

    def __init__(self, name: str, /, **options: Any):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", dict(options))

    def __hash__(self) -> int:
        # Options may be mappings; their names are enough to tell most apart.
        return hash((self.name, *sorted(self.options)))

    def replace(self, **options: Any) -> Spec:
        return Spec(self.name, **{**self.options, **options})

    def __repr__(self) -> str:
        options = [f"{key}={value!r}" for key, value in self.options.items()]
        return f"Spec({', '.join([repr(self.name), *options])})"


@dataclasses.dataclass(frozen=True)
class Setting:
    """One configurable field of a registered class."""

    type: Any
    default: Any
    """`dataclasses.MISSING` when the setting must be given."""


class Registry:
    """Names of one kind of component, each with the place of its class ("package.module:Class")."""

    def __init__(self, kind: str, entries: Mapping[str, str]):
        self.kind = kind
        self._entries: ChainMap[str, str] = ChainMap(dict(entries))

    def joined(self, other: Registry) -> Registry:
        """The names of both, also those that either is given later; of this one's kind."""
        both = Registry(self.kind, {})
        both._entries = ChainMap({}, *self._entries.maps, *other._entries.maps)
        return both

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def register(self, name: str, place: str) -> None:
        """Adds a name from outside the package; a name that means another class is refused."""
        if self._entries.get(name, place) != place:
            raise ConfigError(
                102,
                f"{self.kind} '{name}' is registered already as {self._entries[name]}",
                fix="choose another name",
            )
        self._entries[name] = place

    def load(self, name: str) -> type:
        """The class registered under `name`; imports its module."""
        if name not in self._entries:
            raise ConfigError(102, f"unknown {self.kind} '{name}'", fix=nearest(name, self))
        module, _, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def settings(self, name: str) -> dict[str, Setting]:
        """The configurable fields of `name`, in their order."""
        cls = self.load(name)
        hints = typing.get_type_hints(cls, include_extras=True)
        found = {}
        for field in dataclasses.fields(cls):
            if not field.init or field.name in ("parent", "name") or field.metadata.get("fact"):
                continue
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            found[field.name] = Setting(hints.get(field.name, Any), default)
        return found

    def facts(self, name: str) -> tuple[str, ...]:
        """The fields of `name` that the data or the run gives."""
        return tuple(f.name for f in dataclasses.fields(self.load(name)) if f.metadata.get("fact"))

    def build(self, spec: Spec | str, *, facts: Mapping[str, Any] | None = None, **options: Any):
        """An instance of `spec`; of `facts`, those that the class has a field for are passed."""
        spec = Spec(spec, **options) if isinstance(spec, str) else spec.replace(**options)
        cls = self.load(spec.name)
        settings = self.settings(spec.name)
        wanted = self.facts(spec.name)
        for option in spec.options:
            if option not in settings and option not in wanted:
                raise ConfigError(
                    101,
                    f"{self.kind} '{spec.name}' has no setting '{option}'",
                    fix=nearest(option, settings),
                )
        given = {k: v for k, v in (facts or {}).items() if k in wanted and v is not None}
        missing = [
            k
            for k, setting in settings.items()
            if setting.default is dataclasses.MISSING and k not in spec.options
        ]
        if missing:
            raise ConfigError(
                103,
                f"{self.kind} '{spec.name}' needs {', '.join(missing)}",
                fix=f"give {missing[0]}=...",
            )
        return cls(**{**given, **spec.options})
