"""Curves for a terminal, drawn in dots of Braille."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import rich.text

from mmjax.writers.console import printable

COLOURS = ("bright_blue", "yellow", "green", "magenta")
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bit of each dot of a cell, by row and column."""

Series = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Steps and values by name."""


def plot(title: str, series: Series, *, width: int = 48, height: int = 8) -> rich.text.Text:
    """The series over steps, on `height` lines with axes and a legend around them.

    Values that are not finite are left out; of very different ones, none is cut off.
    """
    kept = {name: _finite(x, y) for name, (x, y) in series.items()}
    kept = {name: points for name, points in kept.items() if len(points[0])}
    text = rich.text.Text()
    text.append(printable(title) + "\n", style="bold")
    if not kept:
        return text.append("nothing yet\n", style="dim")
    steps = np.concatenate([x for x, _ in kept.values()])
    values = np.concatenate([y for _, y in kept.values()])
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    first, last = float(steps.min()), float(steps.max())
    dots, owner = np.zeros((height, width), int), np.full((height, width), -1)
    for number, (x, y) in enumerate(kept.values()):
        across = (x - first) / max(last - first, 1e-12) * (2 * width - 1)
        down = (high - y) / (high - low) * (4 * height - 1)
        for column, row in _joined(across, down):
            dots[row // 4, column // 2] |= _DOTS[row % 4, column % 2]
            owner[row // 4, column // 2] = number
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    margin = max(map(len, labels.values()))
    for row in range(height):
        text.append(f"{labels.get(row, ''):>{margin}} ┤", style="dim")
        for column in range(width):
            style = COLOURS[owner[row, column] % len(COLOURS)] if owner[row, column] >= 0 else ""
            text.append(chr(0x2800 + dots[row, column]) if dots[row, column] else " ", style)
        text.append("\n")
    ends = f"{first:,.0f}", f"{last:,.0f}"
    text.append(f"{' ' * margin} └{ends[0]}{ends[1]:>{max(1, width - len(ends[0]))}}\n", "dim")
    for number, (name, (_, y)) in enumerate(kept.items()):
        colour = COLOURS[number % len(COLOURS)]
        text.append(" " * (margin + 2) if number == 0 else "   ")
        text.append(f"━ {printable(name)} {y[-1]:.4g}", style=colour)
    return text.append("\n")


def _finite(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _joined(across: np.ndarray, down: np.ndarray) -> set[tuple[int, int]]:
    """The dots of a line through points, as column and row."""
    found = {(round(across[0]), round(down[0]))}
    for i in range(1, len(across)):
        count = int(max(abs(across[i] - across[i - 1]), abs(down[i] - down[i - 1]))) + 2
        columns = np.rint(np.linspace(across[i - 1], across[i], count)).astype(int)
        rows = np.rint(np.linspace(down[i - 1], down[i], count)).astype(int)
        found |= set(zip(columns.tolist(), rows.tolist(), strict=True))
    return found
