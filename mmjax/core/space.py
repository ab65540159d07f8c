"""What a search may change: dotted settings, and the values that each may have.

A config file has, beside `get_config()`, a function `get_space()` that returns such a mapping:

    def get_space():
        return {
            "optimizer.learning_rate": FloatRange(1e-4, 1e-2, log=True),
            "model.fusion": Choice("concat", "gated", "weighted_sum"),
            "model.fusion.values": When("model.fusion", "weighted_sum", Simplex("text", "image")),
        }

Settings are applied in this order.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import runpy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import Spec

T = TypeVar("T")
Label: TypeAlias = str | int | float | bool | None
"""What a value is called in a table, and in a study on disk."""


@dataclasses.dataclass(frozen=True, init=False)
class Choice:
    """One of several values, of any kind that the setting takes: `Choice("concat", "gated")`."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any):
        if not values:
            raise ConfigError(106, "Choice() without a value", fix="Choice(value, ...)")
        object.__setattr__(self, "values", values)
        if len(set(map(repr, self.labels()))) < len(values):
            raise ConfigError(106, f"{self} names a value twice", fix="each value once")

    def labels(self) -> list[Label]:
        return [label_of(value) for value in self.values]

    def value(self, label: Label) -> Any:
        found = dict(zip(map(repr, self.labels()), self.values, strict=True))
        return found[repr(label)]

    def grid(self) -> list[Label]:
        return self.labels()


@dataclasses.dataclass(frozen=True)
class IntRange:
    """A whole number from `low` to `high`, both included, in steps; a grid takes all of them.

    With `log`, as likely between 1 and 10 as between 10 and 100; a grid then takes `points`.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False
    points: int = 5

    def __post_init__(self) -> None:
        _require_range(self, self.low, self.high, self.log)
        if self.step < 1 or (self.log and self.step != 1):
            raise ConfigError(106, f"{self}", fix="step=1 or more, and 1 with log=True")

    def value(self, label: Label) -> Any:
        return label

    def grid(self) -> list[Label]:
        if not self.log:
            return list(range(self.low, self.high + 1, self.step))
        return sorted({round(x) for x in np.geomspace(self.low, self.high, self.points)})


@dataclasses.dataclass(frozen=True)
class FloatRange:
    """A number from `low` to `high`, in steps where there is a `step`.

    With `log`, as likely between 1e-4 and 1e-3 as between 1e-3 and 1e-2. A grid takes every step,
    or so many `points`.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    points: int = 5

    def __post_init__(self) -> None:
        _require_range(self, self.low, self.high, self.log)
        if self.step is not None and (self.step <= 0 or self.log):
            raise ConfigError(106, f"{self}", fix="step above 0, and none with log=True")

    def value(self, label: Label) -> Any:
        return label

    def grid(self) -> list[Label]:
        if self.step is not None:
            count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
            return [self.low + i * self.step for i in range(count)]
        space = np.geomspace if self.log else np.linspace
        return [float(x) for x in space(self.low, self.high, self.points)]


@dataclasses.dataclass(frozen=True, init=False)
class Simplex:
    """Weights by name that are multiples of 1 / `parts` and add up to 1, such as a fusion's.

    `zero=False` leaves out those where one is 0.
    """

    names: tuple[str, ...]
    parts: int
    zero: bool

    def __init__(self, *names: str, parts: int = 10, zero: bool = True):
        for key, value in (("names", names), ("parts", parts), ("zero", zero)):
            object.__setattr__(self, key, value)
        if len(names) < 2 or len(set(names)) < len(names) or parts < (1 if zero else len(names)):
            raise ConfigError(
                106, f"{self}", fix="two names or more, each once, and parts enough for them"
            )

    def points(self) -> np.ndarray:
        """Float [point name]."""
        return simplex_points(len(self.names), self.parts, zero=self.zero)

    def value(self, label: Label) -> Any:
        weights = [float(part) for part in str(label).split(" ")]
        return dict(zip(self.names, weights, strict=True))

    def grid(self) -> list[Label]:
        return [" ".join(f"{weight:.6g}" for weight in point) for point in self.points()]


Plain: TypeAlias = Choice | IntRange | FloatRange | Simplex


@dataclasses.dataclass(frozen=True)
class When:
    """A domain that counts only where an earlier setting of the space has this value, or one of a
    list of values.
    """

    setting: str
    equals: Any
    then: Plain

    def labels(self) -> list[Label]:
        several = isinstance(self.equals, (list, tuple))
        return [label_of(one) for one in (self.equals if several else [self.equals])]


Domain: TypeAlias = Choice | IntRange | FloatRange | Simplex | When
Space: TypeAlias = Mapping[str, Domain]


def simplex_points(count: int, parts: int, *, zero: bool = True) -> np.ndarray:
    """All vectors [point count] of multiples of 1 / parts that add up to 1."""
    least = 0 if zero else 1
    free = parts - least * count
    bars = itertools.combinations(range(free + count - 1), count - 1)
    found = [np.diff([-1, *bar, free + count - 1]) - 1 + least for bar in bars]
    return np.array(found, np.float64).reshape(-1, count) / parts


def label_of(value: Any) -> Label:
    """A number, a name or none as it is; anything else as text."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Spec):
        return repr(value)
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError:
        return repr(value)


def load_space(path: str | Path) -> Space:
    """What `get_space()` of a config file returns. Raises ConfigError if it has none."""
    try:
        get_space = runpy.run_path(str(path)).get("get_space")
    except Exception as error:
        raise ConfigError(
            104, f"the config file fails: {type(error).__name__}: {error}", where=str(path)
        ) from error
    if get_space is None:
        raise ConfigError(
            104,
            f"'{path}' has no function get_space()",
            fix="define it beside get_config(); see mmjax.core.space",
        )
    return get_space()


def choose(space: Space, suggest: Callable[[str, Plain], Label]) -> dict[str, Label]:
    """The label that `suggest` gives of each setting that counts, in the order of the space."""
    found: dict[str, Label] = {}
    for setting, domain in space.items():
        if not isinstance(domain, When):
            found[setting] = suggest(setting, domain)
        elif domain.setting in found and found[domain.setting] in domain.labels():
            found[setting] = suggest(setting, domain.then)
    return found


def applied(config: T, space: Space, params: Mapping[str, Label]) -> T:
    """The config with the values that the labels mean. Raises ConfigError for one that is none."""
    values = {}
    for setting, label in params.items():
        if setting not in space:
            raise ConfigError(101, f"'{setting}' is not searched", fix=nearest(setting, space))
        domain = space[setting]
        plain = domain.then if isinstance(domain, When) else domain
        values[setting] = plain.value(label)
    return config_lib.override(config, values)


def every_point(space: Space) -> Iterator[dict[str, Label]]:
    """All points of a grid, each once, the last setting changing fastest."""
    yield from _points(list(space.items()), {})


def _points(left: Sequence[tuple[str, Domain]], found: dict[str, Label]) -> Iterator:
    if not left:
        yield found
        return
    (setting, domain), rest = left[0], left[1:]
    if isinstance(domain, When):
        if found.get(domain.setting, found) not in domain.labels():
            yield from _points(rest, found)
            return
        domain = domain.then
    for label in domain.grid():
        yield from _points(rest, {**found, setting: label})


def check_space(config: Any, space: Space) -> None:
    """Raises ConfigError for a space that is empty, a setting or a value that is none, and a
    condition on what is not searched before.
    """
    if not isinstance(space, Mapping) or not space:
        raise ConfigError(106, "the space has no setting", where="get_space()", fix="give one")
    seen: dict[str, Label] = {}
    for setting, domain in space.items():
        before = config
        if isinstance(domain, When):
            known = space.get(domain.setting)
            plain = known.then if isinstance(known, When) else known
            if domain.setting not in seen or plain is None:
                raise ConfigError(
                    109,
                    f"'{domain.setting}' is not searched before '{setting}'",
                    where="get_space()",
                    fix=nearest(domain.setting, seen),
                )
            if isinstance(plain, Choice):
                for label in domain.labels():
                    if label not in plain.labels():
                        raise ConfigError(
                            106,
                            f"'{domain.setting}' is never {label!r}",
                            where=f"get_space()['{setting}']",
                            fix=nearest(str(label), map(str, plain.labels())),
                        )
            before = applied(config, space, _needed(space, domain))
            domain = domain.then
        if not isinstance(domain, (Choice, IntRange, FloatRange, Simplex)):
            raise ConfigError(
                106,
                f"'{setting}' is a {type(domain).__name__}",
                where="get_space()",
                fix="Choice, IntRange, FloatRange, Simplex, or When of one of them",
            )
        labels = domain.grid()
        for label in labels if isinstance(domain, Choice) else (labels[0], labels[-1]):
            config_lib.override(before, {setting: domain.value(label)})
        seen[setting] = labels[0]


def _needed(space: Space, domain: When) -> dict[str, Label]:
    """What must hold for a conditional domain to count."""
    outer = space[domain.setting]
    before = _needed(space, outer) if isinstance(outer, When) else {}
    return {**before, domain.setting: domain.labels()[0]}


def space_to_json(space: Space) -> dict[str, Any]:
    """The space as JSON values, to tell whether it is another one."""
    found: dict[str, Any] = {}
    for setting, domain in space.items():
        plain = domain.then if isinstance(domain, When) else domain
        one: dict[str, Any] = {"kind": type(plain).__name__}
        fields = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
        if isinstance(plain, Choice):
            fields = {"values": plain.labels()}
        one |= {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
        if isinstance(domain, When):
            one |= {"when": {domain.setting: domain.labels()}}
        found[setting] = one
    return found


def _require_range(domain: Any, low: float, high: float, log: bool) -> None:
    if not low < high or (log and low <= 0):
        raise ConfigError(106, f"{domain}", fix="low below high, and above 0 with log=True")
