"""Cells as tables hold them, whatever they were read from."""

from __future__ import annotations

import datetime
import decimal
import math
import os
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """The text in Unicode's composed form (NFC), with lone surrogates as U+FFFD.

    Labels and keys that look the same are then the same, and every text can be encoded.
    """
    if text.isascii():
        return text
    return _SURROGATE.sub("�", unicodedata.normalize("NFC", text))


def clean_cell(cell: Any) -> Any:
    """What a `Table` holds for a cell of a DataFrame, Parquet file or JSON line.

    NaN, NaT and NA are None; NumPy scalars and decimals are Python numbers; dates are ISO text and
    durations seconds; text is clean; arrays and pictures stay as they are.
    """
    match cell:
        case None | bool() | int():
            return cell
        case str():
            return clean_text(str(cell))
        case float():
            return None if math.isnan(cell) else float(cell)
        case bytes() | np.ndarray():
            return cell
        case bytearray() | memoryview():
            return bytes(cell)
        case np.datetime64() | np.timedelta64() if np.isnat(cell):
            return None
        case np.datetime64():
            return str(cell)
        case np.timedelta64():
            return float(cell / np.timedelta64(1, "s"))
        case np.generic():
            return clean_cell(cell.item())
        case decimal.Decimal():
            return clean_cell(float(cell))
        case list() | tuple():
            return [clean_cell(item) for item in cell]
        case dict():
            return {clean_text(str(key)): clean_cell(value) for key, value in cell.items()}
        case os.PathLike():
            return clean_text(os.fsdecode(cell))
    if type(cell).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(cell, (datetime.date, datetime.time)):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):
        return cell.total_seconds()
    return cell


def key_of(cell: Any) -> str | None:
    """The cell as a key: equal for `1`, `1.0` and `"1"`, which one source may write for another."""
    if cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def shown(cell: Any, most: int = 40) -> str:
    """The cell on one short line of printable characters, for tables on a console."""
    match cell:
        case None:
            return "(missing)"
        case bytes():
            return f"{len(cell)} bytes"
        case np.ndarray():
            return f"{cell.dtype} {list(cell.shape)}"
        case list():
            return f"list of {len(cell)}"
        case dict():
            return f"fields {', '.join(map(str, list(cell)[:4]))}"
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(cell)[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of short texts as lines, the columns under each other on a console."""
    # What is served reads cells too, and has no console.
    from rich.cells import cell_len, set_cell_size

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(set_cell_size(c, w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
