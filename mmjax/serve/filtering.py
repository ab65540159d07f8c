"""A function of one's own that sees every answer before it leaves, and may change or withhold it.

    def polite(example, result):
        if result.answer["label"] == "rude":
            return None
        return dataclasses.replace(result, answer={**result.answer, "checked": True})

`mmjax serve OUT --filter my_package.filters:polite` takes it by its place. An installed package may
also give it a name, by an entry point of the group `mmjax.filters`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

from mmjax.core.errors import ConfigError, MMJaxError, nearest
from mmjax.export.program import Example, Result
from mmjax.serve.errors import ServeError

GROUP = "mmjax.filters"

Filter = Callable[[Example, Result], Result | None]
"""A raw item and what the model says of it -> what is answered; None to answer nothing.

It is called by several threads at once, and must leave the outputs' names as they are.
"""

log = logging.getLogger(__name__)


def named(name: str) -> Filter:
    """The function at `module:function`, or that an installed package calls `name`.

    Raises ConfigError if there is none.
    """
    if ":" in name:
        point = EntryPoint(name, name, GROUP)
    else:
        known = entry_points(group=GROUP)
        if name not in known.names:
            fix = nearest(name, known.names) if known.names else "write it as module:function"
            raise ConfigError(189, f"no filter '{name}'", where="filter", fix=fix)
        point = known[name]
    try:
        found = point.load()
    except Exception as error:  # what an import of somebody's module raises may be anything
        raise ConfigError(
            189,
            f"filter '{name}' cannot be imported: {type(error).__name__}: {error}",
            where="filter",
            fix="module:function, its folder in PYTHONPATH",
        ) from error
    if not callable(found):
        what = f"filter '{name}' is {type(found).__name__}, no function"
        raise ConfigError(189, what, where="filter", fix="module:function")
    return found


def filtered(chosen: Filter, example: Example, result: Result) -> Result | MMJaxError:
    """What a filter leaves of a result; an error if it withholds it or fails, so that nothing goes
    out which it has not seen."""
    try:
        found = chosen(example, result)
    except Exception:
        log.exception("the filter failed")
        return ServeError(818, "the filter failed on this answer")
    if found is None:
        return ServeError(817, "the answer is withheld")
    if not isinstance(found, Result) or not isinstance(found.answer, Mapping):
        log.error("the filter gave %s, no Result", type(found).__name__)
        return ServeError(818, "the filter failed on this answer")
    if set(found.arrays) != set(result.arrays):
        log.error("the filter changed the outputs' names to %s", sorted(found.arrays))
        return ServeError(818, "the filter failed on this answer")
    return found
