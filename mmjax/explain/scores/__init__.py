"""What number of a row is explained, one file a kind of output.

A `base.Score` is chosen once, of what the model says, and held while inputs change: which class,
which box, which span, which text. It is float32, a number a row, such that a larger one says the
same with more confidence. `of` finds the one of a task.

Other classes, labels, items, names of spans, parts or tasks are asked for by name (`of`).
"""

from __future__ import annotations

from typing import Any

from mmjax.core.errors import ConfigError, nearest
from mmjax.explain.scores.alarms import Alarm
from mmjax.explain.scores.base import Choice, Score, Seen
from mmjax.explain.scores.boxes import SurestBox
from mmjax.explain.scores.classes import Classes, Labels, Shares
from mmjax.explain.scores.items import FirstItem
from mmjax.explain.scores.likeness import Likeness
from mmjax.explain.scores.spans import Answer
from mmjax.explain.scores.tags import Tags
from mmjax.explain.scores.texts import Text
from mmjax.explain.scores.values import Value

KINDS: tuple[Score, ...] = (
    Text(),
    Tags(),
    SurestBox(),
    Answer(),
    FirstItem(),
    Alarm(),
    Likeness(),
    Classes(),
    Labels(),
    Value(),
    Shares(),
)
"""Asked in this order."""


def of(task: Any) -> Score:
    """The score of a task. Raises ConfigError for one that gives nothing to explain."""
    found = next((one for one in KINDS if one.fits(task)), None)
    if found is None:
        raise ConfigError(
            109,
            f"{type(task).__name__} gives no number that an input could be asked about",
            where="task",
            fix="explain a run of another task; `mmjax embed` and `mmjax nearest` fit any run",
        )
    return found


def part_of(task: Any, of: str | int | None) -> tuple[str | None, Any, str | int | None]:
    """Of several tasks the name of the one that is explained, that task, and what is left of `of`.

    `of` may name one of them, `sign`, or what it says, `sign=stop`. Of one task: None, itself, and
    `of` as it is. Raises ConfigError for a name that is none, and where all tasks write texts.
    """
    parts = getattr(task, "parts", None) if getattr(type(task), "of_parts", False) else None
    if not parts:
        return None, task, of
    able = {name: one for name, one in parts.items() if not Text().fits(one)}
    if not able:
        raise ConfigError(
            109,
            "all of several tasks write texts",
            where="task.tasks",
            fix="explain a run of one of them",
        )
    if of is None:
        name = next(iter(able))
        return name, able[name], None
    name, _, rest = str(of).partition("=")
    if name not in able:
        raise ConfigError(
            109, f"nothing called '{of}' to explain", where="of", fix=nearest(name, able)
        )
    return name, able[name], rest or None


__all__ = ["KINDS", "Choice", "Score", "Seen", "of", "part_of"]
