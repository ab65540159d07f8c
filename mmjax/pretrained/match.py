"""A family's table against what a folder holds: every misfit at once, before anything is read."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mmjax.core.errors import WeightsError
from mmjax.pretrained.family import Family
from mmjax.pretrained.rules import Leaf

Shapes = Mapping[str, tuple[int, ...]]

_MOST = 20
_LAYER = re.compile(r"layer_(\d+)")


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where a leaf of the table goes: a path of ours, and which of its stacked layers."""

    leaf: Leaf
    path: str
    layer: int | None


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of every weight of a folder."""

    format: str
    loaded: tuple[tuple[str, str], ...]
    """(theirs, ours) of every array."""
    left_out: tuple[str, ...]
    """Weights of heads, or of parts that the module was not asked for."""
    ignored: tuple[str, ...]
    """Weights that follow from the config, and tied ones that stand there twice."""

    def summary(self) -> str:
        parts = [f"{len({theirs for theirs, _ in self.loaded})} weights loaded"]
        if self.left_out:
            parts.append(f"{len(self.left_out)} left out ({_few(self.left_out)})")
        if self.ignored:
            parts.append(f"{len(self.ignored)} ignored ({_few(self.ignored)})")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "loaded": [{"theirs": theirs, "ours": ours} for theirs, ours in self.loaded],
            "left_out": list(self.left_out),
            "ignored": list(self.ignored),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        return cls(
            data["format"],
            tuple((one["theirs"], one["ours"]) for one in data["loaded"]),
            tuple(data["left_out"]),
            tuple(data["ignored"]),
        )


@dataclasses.dataclass(frozen=True)
class Match:
    """Which names of a folder feed which of our arrays."""

    destinations: Mapping[str, tuple[Destination, ...]]
    """By the name in the files."""
    report: Report


class Spelling:
    """Names as the files have them, and as the family's table has them."""

    def __init__(self, family: Family, config: Any, found: Iterable[str]):
        self._family = family
        self._aliases = family.aliases(config)
        self._table = {leaf.theirs for leaf in family.table(config)} | set(self._aliases)
        found = list(found)
        plain = {name: self._renamed(name) for name in found}
        forms = {
            "same": plain,
            "less": {name: self._less(one) for name, one in plain.items()},
            "more": {name: family.prefix + one for name, one in plain.items()},
        }
        # A file is of the bare class or of one with a head: whichever its names fit better.
        score = {
            form: sum(n in self._table for n in names.values()) for form, names in forms.items()
        }
        self.form = max(score, key=lambda form: (score[form], form == "same"))
        self.fits = score[self.form] / max(1, len(found))
        self.names: dict[str, str] = forms[self.form]
        """By the name in the files, the name in the table."""

    def _renamed(self, name: str) -> str:
        for pattern, replacement in self._family.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def _less(self, name: str) -> str:
        prefix = self._family.prefix
        return name.removeprefix(prefix) if prefix else name

    def is_head(self, name: str) -> bool:
        """Whether a name of the files lies outside of the model proper."""
        outside = self.form == "less" and not self._renamed(name).startswith(self._family.prefix)
        return outside or _any(self._family.left_out, self.names[name])

    def canonical(self, name: str) -> str:
        """The table's name, of a tied weight too."""
        plain = self.names[name]
        return self._aliases.get(plain, plain)


def match(
    family: Family, config: Any, found: Shapes, ours: Shapes, *, format: str, where: str
) -> Match:
    """Pairs `found` (names in the files) with `ours` (`params/...` paths of the module).

    Raises WeightsError with all missing, unexpected and mis-shaped names.
    """
    spelling = Spelling(family, config, found)
    by_name: dict[str, list[Destination]] = {}
    spare: set[str] = set()
    covered: set[str] = set()
    for leaf in family.table(config):
        path, layer = locate(leaf.ours, ours)
        if path is None:
            spare.add(leaf.theirs)
            continue
        covered.add(path)
        by_name.setdefault(leaf.theirs, []).append(Destination(leaf, path, layer))
    nowhere = sorted(set(ours) - covered)
    if nowhere:
        raise WeightsError(
            655,
            f"no weight of a '{config.model_type}' is meant for {_few(nowhere)}",
            where=where,
            fix="leave out the option that adds it",
        )
    # Where a tied weight stands there under several names, the table's own comes first.
    order = sorted(found, key=lambda name: spelling.names[name] != spelling.canonical(name))
    destinations: dict[str, tuple[Destination, ...]] = {}
    taken: set[str] = set()
    left_out, ignored, unexpected, misshapen = [], [], [], []
    for name in order:
        known = spelling.canonical(name)
        if known in by_name and known in taken and not _outside(spelling, name):
            ignored.append(name)
        elif known in by_name and not _outside(spelling, name):
            taken.add(known)
            destinations[name] = tuple(by_name[known])
            expected = _expected(by_name[known], ours)
            if tuple(found[name]) != expected:
                misshapen.append(f"'{name}' {_shape(found[name])}, expected {_shape(expected)}")
        elif _any(family.ignored, known):
            ignored.append(name)
        elif known in spare or spelling.is_head(name):
            left_out.append(name)
        else:
            unexpected.append(name)
    missing = sorted(set(by_name) - taken)
    if missing or unexpected or misshapen:
        raise _misfit(
            family, config, missing, sorted(unexpected), misshapen, spelling.fits, where=where
        )
    loaded = tuple(
        (name, f"{one.path}{'' if one.layer is None else f'[{one.layer}]'}")
        for name in found
        if name in destinations
        for one in destinations[name]
    )
    report = Report(format, loaded, tuple(sorted(left_out)), tuple(sorted(ignored)))
    return Match(destinations, report)


def _outside(spelling: Spelling, name: str) -> bool:
    """Whether a head's weight only happens to be called like one of the model's."""
    return spelling.form == "less" and spelling.is_head(name)


def locate(ours: str, there: Shapes) -> tuple[str | None, int | None]:
    """The path of a table's `layer_3`, stacked or not; None if the module has no such array."""
    if ours in there:
        return ours, None
    for found in reversed(list(_LAYER.finditer(ours))):
        stacked = f"{ours[: found.start()]}layers{ours[found.end() :]}"
        if stacked in there:
            return stacked, int(found[1])
    return None, None


def _expected(destinations: list[Destination], ours: Shapes) -> tuple[int, ...]:
    """The shape that theirs must have."""
    shapes = []
    for one in destinations:
        shape = ours[one.path] if one.layer is None else ours[one.path][1:]
        shapes.append(one.leaf.shape_of_theirs(shape))
    whole = list(shapes[0])
    if destinations[0].leaf.part is not None:
        stops = [one.leaf.part[1] for one in destinations if one.leaf.part is not None]
        whole[destinations[0].leaf.axis] = max(stops)
    return tuple(whole)


def _misfit(
    family: Family,
    config: Any,
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
    fits: float,
    *,
    where: str,
) -> WeightsError:
    told = []
    if missing:
        told.append(f"{len(missing)} missing: {_near(missing, unexpected)}")
    if unexpected:
        told.append(f"{len(unexpected)} unexpected: {_near(unexpected, missing)}")
    if misshapen:
        told.append(f"{len(misshapen)} mis-shaped: {_few(misshapen, quote=False)}")
    fix = "use the config.json that belongs to these weights"
    if fits < 0.5:
        fix = f"only {fits:.0%} of the names are those of a '{config.model_type}': " + fix
    return WeightsError(
        655, f"the weights do not fit {family.saved_as}: {'; '.join(told)}", where=where, fix=fix
    )


def _near(names: list[str], others: list[str]) -> str:
    """Names, each with the nearest of the others."""
    told = []
    for name in names[:_MOST]:
        close = difflib.get_close_matches(name, others[:200], n=1, cutoff=0.8)
        told.append(f"'{name}'" + (f" (there is '{close[0]}')" if close else ""))
    return ", ".join(told) + (", ..." if len(names) > _MOST else "")


def _few(names: Iterable[str], *, quote: bool = True) -> str:
    names = list(names)
    told = [f"'{name}'" if quote else name for name in names[:_MOST]]
    return ", ".join(told) + (", ..." if len(names) > _MOST else "")


def _shape(shape: Iterable[int]) -> str:
    return "[" + " ".join(map(str, shape)) + "]"


def _any(patterns: Iterable[str], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)
