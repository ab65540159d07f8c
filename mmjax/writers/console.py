"""Text for terminals: safe to print, never blocking, and the summary table."""

from __future__ import annotations

import math
import os
import re
import select
import sys
from collections.abc import Sequence
from typing import IO, Any

import rich.box
import rich.console
import rich.table
import rich.text

# Control characters (terminal escapes among them), overrides of the reading direction, surrogates.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_AT_ONCE = 4096
"""A pipe that takes any byte takes this many without blocking (PIPE_BUF on Linux)."""


def printable(text: object) -> str:
    """`text` with control characters written out (`\\x1b`), so that data cannot drive a terminal.

    Line ends and tabs are kept.
    """
    plain = str(text).replace("\r\n", "\n")
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], plain)


def write_now(stream: IO[str], line: str) -> bool:
    """Writes one line if `stream` takes it at once; False if its reader does not keep up."""
    text = printable(line).replace("\n", " ") + "\n"
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):
        descriptor = None
    if descriptor is None or not hasattr(select, "poll"):
        stream.write(text)
        return True
    waiting = select.poll()
    waiting.register(descriptor, select.POLLOUT)
    if not waiting.poll(0):
        return False
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > _AT_ONCE:
        data = data[: _AT_ONCE - 1].decode("utf-8", "ignore").encode() + b"\n"
    try:
        os.write(descriptor, data)
    except OSError:
        return False
    return True


def say(text: object) -> None:
    """Prints a line of text that may come from data to standard output."""
    sys.stdout.write(printable(text) + "\n")
    sys.stdout.flush()


def number(value: Any) -> str:
    """A table cell: floats to three decimals, a dash for nothing, text made printable."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(value)


def table(
    rows: Sequence[Sequence[Any]],
    columns: Sequence[str],
    title: str = "",
    *,
    file: IO[str] | None = None,
) -> None:
    """Prints a table to `file` (standard output if None); the columns with numbers align right.

    Where the output is no terminal the table is as wide as it needs to be.
    """
    file = sys.stdout if file is None else file
    drawn = rich.table.Table(
        title=rich.text.Text(printable(title), style="bold") if title else None,
        box=rich.box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in rows)
        drawn.add_column(
            rich.text.Text(printable(column)),
            justify="right" if numeric else "left",
            no_wrap=numeric,
        )
    for row in rows:
        drawn.add_row(*(rich.text.Text(number(cell)) for cell in row))
    console = rich.console.Console(file=file)
    if not console.is_terminal:
        console = rich.console.Console(
            file=file, width=max(80, rich.console.Console(width=10_000).measure(drawn).maximum)
        )
    console.print(drawn)
