"""Metrics of events: triggers and arguments, found and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Bool, Int
from mmjax.metrics.entities import entities_from_sums, entity_sums
from mmjax.metrics.multi_label import precision_recall_f1

_PARTS = ("trigger_identification", "trigger", "argument_identification", "argument")
_COUNTS = ("right", "predicted", "support")


def events(
    true: tuple[Int[np.ndarray, "n t 3"], Int[np.ndarray, "n a 6"]],
    predicted: tuple[Int[np.ndarray, "n p 3"], Int[np.ndarray, "n q 6"]],
    *,
    type_names: Sequence[str],
    role_names: Sequence[str],
) -> dict[str, float]:
    """Precision, recall and F1 of triggers and arguments as a flat dict, in float64.

    Triggers are rows of start, end and type; arguments of start, end, start and end of the trigger,
    its type, and role; -1 where there are none. A trigger is identified if its characters are
    right (`trigger_identification_f1`), and classified if its type is too (`trigger_f1`). An
    argument is identified if its characters and the type of its event are right
    (`argument_identification_f1`), and classified if its role is too (`argument_f1`), whichever
    trigger of that type it is of (Li et al. 2013; Lin et al. 2020). `trigger_f1/<type>` and
    `argument_f1/<role>` are of each name. All are micro averages, 0 where a denominator is 0.
    """
    sums: dict[str, Any] = {}
    views = [_views_on_host(*some) for some in (true, predicted)]
    sizes = {"trigger": len(type_names), "argument": len(role_names)}
    for part in _PARTS:
        theirs, ours = (view[part] for view in views)
        count = sizes.get(part, 1)
        for name, some in zip(_COUNTS, (theirs & ours, ours, theirs), strict=True):
            kinds = [one[-1] for one in some]
            sums[f"{part}-{name}"] = np.bincount(np.array(kinds, int), minlength=count)
    return events_from_sums(sums, type_names=type_names, role_names=role_names)


def _views_on_host(triggers: Any, arguments: Any) -> dict[str, set[tuple[int, ...]]]:
    found: dict[str, set[tuple[int, ...]]] = {part: set() for part in _PARTS}
    for row, some in enumerate(np.asarray(triggers).tolist()):
        for start, end, kind in some:
            if start >= 0:
                found["trigger"].add((row, start, end, kind))
                found["trigger_identification"].add((row, start, end, 0))
    for row, some in enumerate(np.asarray(arguments).tolist()):
        for start, end, _, _, kind, role in some:
            if start >= 0:
                found["argument"].add((row, start, end, kind, role))
                found["argument_identification"].add((row, start, end, kind, 0))
    return found


def event_sums(
    true: tuple[Int[Array, "b t 3"], Int[Array, "b a 6"]],
    predicted: tuple[Int[Array, "b p 3"], Int[Array, "b q 6"]],
    types: int,
    roles: int,
    rows: Bool[Array, "b"],
) -> dict[str, Array]:
    """Float32 sums over the rows that count; `events_from_sums` makes of them what `events` has."""
    views = [_views(*some) for some in (true, predicted)]
    sizes = {"trigger": types, "argument": roles}
    return {
        f"{part}-{name}": value
        for part in _PARTS
        for name, value in entity_sums(
            views[0][part], views[1][part], sizes.get(part, 1), rows
        ).items()
    }


def _views(triggers: Array, arguments: Array) -> dict[str, Array]:
    named = arguments[..., jnp.array([0, 1, 4, 5])]
    return {
        "trigger": triggers,
        "trigger_identification": _nameless(triggers),
        "argument": _once(named),
        "argument_identification": _once(_nameless(named)),
    }


def _nameless(some: Array) -> Array:
    return some.at[..., -1].set(jnp.where(some[..., -1] >= 0, 0, -1))


def _once(some: Array) -> Array:
    """-1 in place of rows that are there before."""
    same = jnp.all(some[:, :, None] == some[:, None], axis=-1)
    count = some.shape[1]
    before = jnp.arange(count)[:, None] > jnp.arange(count)
    return jnp.where(jnp.any(same & before, axis=-1)[..., None], -1, some)


def events_from_sums(
    sums: Mapping[str, Any], *, type_names: Sequence[str], role_names: Sequence[str]
) -> dict[str, float]:
    """What `events` gives, of summed `event_sums`."""
    found: dict[str, float] = {}
    for part in _PARTS:
        counts = [np.asarray(sums[f"{part}-{name}"], np.float64) for name in _COUNTS]
        whole = precision_recall_f1(*(one.sum(keepdims=True) for one in counts))
        found |= {f"{part}_{name}": float(value[0]) for name, value in whole.items()}
    for part, names in (("trigger", type_names), ("argument", role_names)):
        own = {name: sums[f"{part}-{name}"] for name in _COUNTS}
        each = entities_from_sums(own, names)
        found |= {f"{part}_{name}": value for name, value in each.items() if "/" in name}
    return found
