"""The one grammar of numbers: what a cell must look like to be one."""

from __future__ import annotations

import math
import numbers
import re
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def parse_number(cell: Any) -> float | None:
    """The finite number that a cell holds, or None if it holds none.

    A string must be decimal ASCII digits with an optional sign, point and exponent; blanks around
    it are ignored. So `1_000`, `1,5`, `٣`, `0x10`, `nan`, `inf`, `N/A` and the empty string are no
    numbers, though Python's `int` or `float` takes some of them. Truth values are none either, and
    whatever overflows float64.
    """
    if isinstance(cell, str):
        cell = cell.strip(" \t")
        if not _NUMBER.fullmatch(cell):
            return None
    elif isinstance(cell, bool) or not isinstance(cell, numbers.Real):
        return None
    try:
        value = float(cell)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
