"""Cells that hold a list, as such or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import DataError


def listed(cell: Any, refused: Callable[[], DataError]) -> Sequence[Any]:
    """The list that a cell is, an array's too, or that its JSON says; raises what `refused` makes
    of any other.
    """
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            raise refused() from None
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if not isinstance(cell, (list, tuple)):
        raise refused()
    return cell
