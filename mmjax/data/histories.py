"""What came before each row, as lists that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Histories(Sequence):
    """Of each row the items up to its own: a part of a whole that many rows share."""

    def __init__(self) -> None:
        self._wholes: list[list[str]] = []
        self._rows: list[tuple[int, int]] = []

    def add(self, whole: list[str]) -> int:
        """All items of a user, and the number that rows name them by."""
        self._wholes.append(whole)
        return len(self._wholes) - 1

    def row(self, whole: int, stop: int) -> None:
        """The next row: the first `stop` items of a whole."""
        self._rows.append((whole, stop))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        whole, stop = self._rows[index]
        return self._wholes[whole][:stop]
