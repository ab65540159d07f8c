"""Events in a text: triggers, and what takes part in each."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Int
from mmjax.data.cells import shown
from mmjax.data.modalities.base import Place
from mmjax.data.spans import (
    EMPTY,
    Span,
    against_text,
    padded,
    read_spans,
    too_many,
    without_overlaps,
)
from mmjax.data.table import Table
from mmjax.data.targets.base import Role, cell_of, columns_of

Event = tuple[Span, tuple[Span, ...]]
"""A trigger, and its arguments, whose labels are roles."""


@dataclasses.dataclass(frozen=True)
class Events:
    """The events of a row's text.

    A cell is a list of `{"start", "end", "type", "arguments": [{"start", "end", "role"}]}`, in JSON
    text too, with characters as in a target of kind spans. Triggers share no characters with each
    other. With `text`, the column of that text, all parts must lie in it. An empty list is a row
    without events; an empty cell is refused, unless `missing="none"` says that it means the same.

    Types and roles are given, or those of the training rows in alphabetical order. A batch has
    int32 [b most 5], a row for each trigger and after them one for each argument, both in the order
    of their characters: start, end, start and end of the trigger that the argument is of (-1 of a
    trigger), and the position of the type or role; -1 where there are no more.
    """

    column: str
    text: str | None = None
    types: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None
    most: int = 32
    """Triggers and arguments of a row, together."""
    missing: Literal["refuse", "none"] = "refuse"

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ConfigError(
                106, f"most = {self.most}", where=f"targets of '{self.column}'", fix="1 or more"
            )

    @property
    def also(self) -> tuple[str, ...]:
        """The column of the text, if events are held against it."""
        return () if self.text is None else (self.text,)

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for what are no events, and too many."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> list[Event]:
        """The events of a row in the order of their triggers."""
        where = place.where(self.column)
        cell, text = against_text(cell, self.text, where, missing=self.missing, what="events")
        found: dict[Span, tuple[Span, ...]] = {}
        for one in _listed(cell, where):
            trigger = read_spans([one], where, text=text)[0]
            arguments = read_spans(one.get("arguments") or [], where, text=text)
            found[trigger] = tuple(dict.fromkeys((*found.get(trigger, ()), *arguments)))
        ordered = without_overlaps(sorted(found), "refuse", where)
        count = len(found) + sum(map(len, found.values()))
        if count > self.most:
            raise too_many(count, self.most, where, "most")
        return [(trigger, found[trigger]) for trigger in ordered]

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> EventsProcessor:
        """Types and roles, and how many events and arguments of the training rows have each."""
        columns = columns_of(self)
        types: Counter[str] = Counter()
        roles: Counter[str] = Counter()
        for row in rows.tolist():
            for trigger, arguments in self.of(cell_of(table, columns, row), Place(table, row)):
                types[trigger.label] += 1
                roles.update(argument.label for argument in arguments)
        if not types and self.types is None:
            raise DataError(
                532,
                f"'{self.column}' has no event in the training rows",
                where=table.name,
                fix="give some, or types and roles",
            )
        named = (list(self.types or sorted(types)), list(self.roles or sorted(roles)))
        return EventsProcessor(
            self, *named, [types[name] for name in named[0]], [roles[name] for name in named[1]]
        )

    def load(self, folder: Path) -> EventsProcessor:
        """What `EventsProcessor.save` wrote."""
        stored = read_json(folder / "events.json")
        return EventsProcessor(
            self, *(stored[name] for name in ("types", "roles", "type_counts", "role_counts"))
        )


class EventsProcessor:
    """Facts: `type_names` and `role_names`, and `type_counts` and `role_counts`, how often the
    training rows have each.
    """

    def __init__(
        self,
        settings: Events,
        types: Sequence[str],
        roles: Sequence[str],
        type_counts: Sequence[int],
        role_counts: Sequence[int],
    ):
        self._settings = settings
        self._types = {name: i for i, name in enumerate(types)}
        self._roles = {name: i for i, name in enumerate(roles)}
        self.facts: dict[str, Any] = {
            "type_names": tuple(types),
            "role_names": tuple(roles),
            "type_counts": tuple(type_counts),
            "role_counts": tuple(role_counts),
        }

    def save(self, folder: Path) -> None:
        """`events.json`: types and roles in the order of their ids, and their counts."""
        facts = {name.removesuffix("_names"): list(one) for name, one in self.facts.items()}
        facts["types"], facts["roles"] = facts.pop("type"), facts.pop("role")
        write_json(folder / "events.json", facts)

    def encode(self, cell: Any, place: Place) -> Int[np.ndarray, "k 5"]:
        """Triggers and arguments. Raises DataError for an unknown type or role."""
        where = place.where(self._settings.column)
        triggers: list[tuple[int, ...]] = []
        arguments: list[tuple[int, ...]] = []
        for trigger, parts in self._settings.of(cell, place):
            kind = _known(trigger.label, self._types, "type of event", where)
            triggers.append((trigger.start, trigger.end, EMPTY, EMPTY, kind))
            for one in parts:
                role = _known(one.label, self._roles, "role", where)
                arguments.append((one.start, one.end, trigger.start, trigger.end, role))
        arguments.sort(key=lambda one: (one[0], -one[1], *one[2:]))
        return np.array([*triggers, *arguments], np.int32).reshape(-1, 5)

    def collate(self, values: Sequence[Int[np.ndarray, "k 5"] | None]) -> Int[np.ndarray, "b m 5"]:
        """int32, -1 where there are no more."""
        return padded(values, self._settings.most, 5)


def _listed(cell: Any, where: str) -> list[Mapping[str, Any]]:
    found = cell
    if isinstance(cell, str):
        try:
            found = json.loads(cell)
        except ValueError:
            found = None
    if isinstance(found, (list, tuple)) and all(isinstance(one, Mapping) for one in found):
        return list(found)
    raise DataError(
        531,
        f"'{shown(cell)}' are no events",
        where=where,
        fix='give a list of {"start", "end", "type", "arguments": [{"start", "end", "role"}]}',
    )


def _known(name: str, ids: Mapping[str, int], what: str, where: str) -> int:
    if name not in ids:
        raise DataError(531, f"unknown {what} '{name}'", where=where, fix=nearest(name, ids))
    return ids[name]
