"""Which parameters of another run this one takes: by name, by pattern, by shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mmjax.core.errors import CheckpointError, ConfigError, nearest
from mmjax.train.config import InitConfig

_MOST = 6

Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What becomes of every parameter of either run."""

    taken: Mapping[str, str]
    """This run's name -> the other's."""
    new: tuple[str, ...]
    """Names of this run."""
    left: tuple[str, ...]
    """Names of the other run that nothing takes."""
    reasons: Mapping[str, str]
    """Why a part that both have by name stays new."""


def finds(patterns: Iterable[str], name: str) -> bool:
    """Whether a pattern means this name, or one that it lies below."""
    return any(fnmatchcase(name, one) or fnmatchcase(name, f"{one}/*") for one in patterns)


def selected(init: InitConfig, name: str) -> bool:
    return finds(init.include, name) and not finds(init.exclude, name)


def part_of(name: str) -> str:
    """The part of the model that a parameter belongs to, such as "encoders_text"."""
    return name.partition("/")[0]


def counterpart(name: str, modalities: Mapping[str, str], known: Iterable[str]) -> str | None:
    """The name in the other run; None for what belongs to a modality that it lacks.

    `known` are this run's modalities. Inside an encoder, names are the same in both.
    """
    segments = name.split("/")
    of_encoder = segments[0].startswith("encoders_")
    for index, segment in enumerate(segments[:1] if of_encoder else segments):
        # The longest first: "alt_text" is not "text".
        for ours in sorted(known, key=len, reverse=True):
            if segment == ours:
                before, after = "", ""
            elif segment.endswith(f"_{ours}"):
                before, after = segment.removesuffix(ours), ""
            elif segment.startswith(f"{ours}_"):
                before, after = "", segment.removeprefix(ours)
            else:
                continue
            if ours not in modalities:
                return None
            segments[index] = f"{before}{modalities[ours]}{after}"
            break
    return "/".join(segments)


def plan(
    ours: Shapes,
    theirs: Shapes,
    init: InitConfig,
    known: Sequence[str],
    *,
    differs: Callable[[str], str] = lambda part: "",
    settings: Mapping[str, str] | None = None,
) -> Plan:
    """Pairs the names of two runs.

    `differs(part)` says why a part is another thing in the other run, whatever its name; `settings`
    are the changes to the config, by part, that would give parts the other run's shapes. An encoder
    of which some parameters are taken takes all that `init` selects.

    Raises ConfigError for a pattern that finds nothing and where nothing is taken, CheckpointError
    for parameters of an encoder that the other run lacks, and for shapes that differ.
    """
    pairs = {name: counterpart(name, init.modalities, known) for name in ours}
    parts = {part_of(name) for name, other in pairs.items() if other is not None}
    reasons = {part: why for part in sorted(parts) if (why := differs(part))}
    both = {
        name: other
        for name, other in pairs.items()
        if other is not None and other in theirs and part_of(name) not in reasons
    }
    _require_patterns(init, ours, theirs, both, reasons)
    taken: dict[str, str] = {}
    missing, misshapen = [], []
    begun = {part_of(name) for name in both if selected(init, name)}
    for name, other in pairs.items():
        if other is None or part_of(name) in reasons or not selected(init, name):
            continue
        if name not in both:
            if name.startswith("encoders_") and part_of(name) in begun:
                missing.append(name)
        elif ours[name] != theirs[other]:
            misshapen.append(name)
        else:
            taken[name] = other
    if missing or misshapen:
        shapes = {name: (ours[name], theirs[both[name]]) for name in misshapen}
        raise _misfit(init, missing, shapes, settings or {})
    if not taken:
        raise ConfigError(
            109,
            "no parameter is taken from the run",
            where=f"init.run={init.run}",
            fix=_why_nothing(reasons, ours, theirs),
        )
    new = tuple(name for name in ours if name not in taken)
    used = set(taken.values())
    return Plan(taken, new, tuple(name for name in theirs if name not in used), reasons)


def _require_patterns(
    init: InitConfig,
    ours: Shapes,
    theirs: Shapes,
    both: Mapping[str, str],
    reasons: Mapping[str, str],
) -> None:
    for one in init.include:
        if one != "*" and not any(finds([one], name) for name in both):
            why = {part_of(name) for name in ours if finds([one], name)} & reasons.keys()
            told = "; ".join(f"{part}: {reasons[part]}" for part in sorted(why))
            raise _no_such("include", one, both, told)
    for one in init.exclude:
        if not any(finds([one], name) for name in (*ours, *theirs)):
            raise _no_such("exclude", one, ours)


def _no_such(field: str, pattern: str, names: Iterable[str], told: str = "") -> ConfigError:
    names = list(names)
    steps = [name.split("/") for name in names]
    folders = {"/".join(step[:i]) for step in steps for i in range(1, len(step))}
    where = "of this run" if field == "exclude" else "that both runs have"
    return ConfigError(
        109,
        f"the pattern '{pattern}' finds no parameter {where}" + (f" ({told})" if told else ""),
        where=f"init.{field}",
        fix=nearest(pattern, {*folders, *names}),
    )


def _misfit(
    init: InitConfig,
    missing: Sequence[str],
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    settings: Mapping[str, str],
) -> CheckpointError:
    told = [f"{len(missing)} that the run lacks: {_few(missing)}"] if missing else []
    if misshapen:
        each = [
            f"{n} {_shape(here)} here, {_shape(there)}" for n, (here, there) in misshapen.items()
        ]
        told.append(f"{len(misshapen)} of another shape: {_few(each)} there")
    changes = [settings[part] for part in map(part_of, misshapen) if settings.get(part)]
    leaving_out = f"init.exclude={_excluding(init, [*missing, *misshapen])}"
    return CheckpointError(
        604,
        f"the run's parameters do not fit: {'; '.join(told)}",
        where=init.run,
        fix=" or ".join([*dict.fromkeys(changes), leaving_out]),
    )


def _excluding(init: InitConfig, names: Sequence[str]) -> str:
    """The patterns that leave these out too: a module where several of it do not fit."""
    modules = [name.rpartition("/")[0] or name for name in names]
    shown = [m if modules.count(m) > 1 else n for m, n in zip(modules, names, strict=True)]
    if len(set(shown)) > _MOST:
        shown = [part_of(name) for name in names]
    return ",".join(dict.fromkeys([*init.exclude, *shown]))


def _why_nothing(reasons: Mapping[str, str], ours: Shapes, theirs: Shapes) -> str:
    if reasons:
        return "; ".join(f"{part}: {why}" for part, why in reasons.items())
    parts = [", ".join(sorted({part_of(n) for n in names})) for names in (ours, theirs)]
    return f"this run has {parts[0]}; that one {parts[1]}; init.modalities pairs names"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (", ..." if len(names) > _MOST else "")


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + " ".join(map(str, shape)) + "]"


def summary(found: Plan, sizes: Mapping[str, int]) -> list[list[Any]]:
    """A line a part: its name, where from, arrays taken, arrays new, numbers taken, a remark."""
    lines = []
    for part in dict.fromkeys(map(part_of, [*found.taken, *found.new])):
        taken = [name for name in found.taken if part_of(name) == part]
        source = sorted({part_of(found.taken[name]) for name in taken})
        fresh = sum(part_of(name) == part for name in found.new)
        numbers = sum(sizes[name] for name in taken)
        remark = found.reasons.get(part, "")
        lines.append([part, ", ".join(source) or "new", len(taken), fresh, numbers, remark])
    return lines
