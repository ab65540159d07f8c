"""Lengths of training in the unit that suits: "500 steps", "20 epochs", "10000 examples", "5%"."""

from __future__ import annotations

import re

from mmjax.core.errors import ConfigError

_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(steps?|epochs?|examples?|%)")


def to_steps(
    length: str,
    *,
    name: str,
    batch_size: int,
    epoch_examples: int,
    total_steps: int | None = None,
) -> int:
    """Whole steps, rounded to the nearest, at least 1 unless the length is 0.

    `name` is the setting, for the error. A percentage is of `total_steps`.
    """
    match = _LENGTH.fullmatch(length.strip())
    if match is None or (match[2] == "%" and total_steps is None):
        raise ConfigError(
            106,
            f"{name} = '{length}' is not a length",
            fix="write '500 steps', '20 epochs', '10000 examples'"
            + (" or '5%'" if total_steps is not None else ""),
        )
    amount, unit = float(match[1]), match[2].rstrip("s")
    steps = {
        "step": amount,
        "epoch": amount * epoch_examples / batch_size,
        "example": amount / batch_size,
        "%": amount / 100.0 * (total_steps or 0),
    }[unit]
    return max(round(steps), 1) if amount else 0
