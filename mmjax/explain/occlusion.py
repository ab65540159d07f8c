"""What the score loses when a word, a piece of a picture, or a concept is hidden."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.explain import features as feature_lib
from mmjax.explain.base import Found, Method, total
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject
from mmjax.explain.tokens import shape_of

Groups = Int[np.ndarray, "b ..."]
"""The number of the piece that each place is of, -1 for none."""
Windows = Bool[np.ndarray, "w p"]
"""Which pieces are hidden together."""


@dataclasses.dataclass(frozen=True)
class Occlusion(Method):
    """Occlusion (Zeiler and Fergus 2014): each piece in turn is nothing, and the score is asked.

    Pieces are words, columns, frames, points, and cells of a picture, a volume or a spectrogram,
    `cells` along each axis; of cells, windows of `window` along each axis are hidden together, slid
    by one from beyond an edge. A place gets the mean over its windows of their loss over their
    places, so that sums of places are losses. `concepts` are lists of words by name, which are
    hidden together; their losses are told in `facts`.
    """

    cells: int = 8
    window: int = 2
    concepts: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    about: ClassVar[str] = "what the score loses when a word or a piece of the input is hidden"

    def __hash__(self) -> int:
        return hash((self.cells, self.window, tuple(self.concepts)))

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        before = subject.scored(batch, choice)
        parts: dict[str, np.ndarray] = {}
        for name in subject.modalities:
            groups = self.groups(subject, batch, name)
            count = int(groups.max(initial=-1)) + 1
            if not count:
                continue
            windows = self._windows(subject, batch, name, count)
            # Few sizes, so that few programs are compiled.
            wide = [(0, _room(size) - size) for size in windows.shape]
            found = subject.call(
                ("hidden", name),
                self._hidden(subject, name),
                batch,
                choice,
                groups,
                np.pad(windows, wide),
            )
            parts[name] = _shared(before[:, None] - found.T[:, : len(windows)], groups, windows)
        sums = {name: total(values) for name, values in parts.items()}
        return Found(sums, parts, facts=self._told(subject, batch, choice, before))

    def groups(self, subject: Subject, batch: Batch, name: str) -> Groups:
        """The pieces of every row of a modality; padding is of none."""
        found = self._pieces(subject, batch, name)
        return np.where(np.asarray(feature_lib.valid(batch, name, jnp.asarray(found))), found, -1)

    def _pieces(self, subject: Subject, batch: Batch, name: str) -> Groups:
        shape, rows = shape_of(batch, name), batch.row_mask.shape[0]
        if subject.words is not None and _has_words(subject, name):
            found = np.full((rows, *shape), -1, np.int32)
            for row, words in enumerate(subject.words(batch, name)):
                for number, (_, places) in enumerate(words):
                    found[row, [p for p in places if p < shape[0]]] = number
            return found
        grid = np.zeros(shape, np.int32)
        for axis, (numbers, _) in enumerate(self._axes(subject, batch, name)):
            along = numbers.reshape(-1, *[1] * (len(shape) - axis - 1))
            grid = grid * (int(numbers.max()) + 1) + along.astype(np.int32)
        return np.broadcast_to(grid, (rows, *shape)).copy()

    def _axes(self, subject: Subject, batch: Batch, name: str) -> list[tuple[np.ndarray, int]]:
        """Along each axis of what is no words the number of each place's cell, and how many cells
        are hidden together.
        """
        shape = shape_of(batch, name)
        if subject.kinds[name] == "video":
            return [(np.arange(shape[0]), 1), *((np.zeros(size, int), 1) for size in shape[1:])]
        if len(shape) == 1:
            most = shape[0] if shape[0] <= 64 else self.cells
            return [(_cells(shape[0], most), 1)]
        axes = [(_cells(size, self.cells), self.window) for size in shape]
        if subject.kinds[name] == "image" and len(shape) == 3:  # the first counts pictures
            axes[0] = np.arange(shape[0]), 1
        return axes

    def _windows(self, subject: Subject, batch: Batch, name: str, count: int) -> Windows:
        """Which of so many pieces are hidden together: each word alone, neighbours of a grid."""
        if _has_words(subject, name):
            return np.eye(count, dtype=bool)
        whole = np.ones((1, 1), bool)
        for numbers, width in self._axes(subject, batch, name):
            whole = np.kron(whole, _slid(int(numbers.max()) + 1, width)).astype(bool)
        return whole[:, :count]

    def _hidden(self, subject: Subject, name: str) -> Any:
        """Scores [windows b] with each window of a modality hidden in turn."""

        def scores(
            variables: Any, batch: Batch, choice: Choice, groups: Array, windows: Bool[Array, "w p"]
        ) -> Float[Array, "w b"]:
            own, nothing = subject.features(variables, batch, choice)

            def one(window: Array) -> Array:
                hidden = (groups >= 0) & window[jnp.maximum(groups, 0)]
                kept = {name: ~hidden} if name in own else {}
                mixed = subject.mixed(batch, kept, own, nothing)
                return subject.scores(variables, batch, choice, mixed)

            return jax.lax.map(one, windows)

        return scores

    def _told(
        self, subject: Subject, batch: Batch, choice: Choice, before: np.ndarray
    ) -> list[dict[str, Any]]:
        rows = len(before)
        if not self.concepts or subject.words is None:
            return [{} for _ in range(rows)]
        told: list[dict[str, float]] = [{} for _ in range(rows)]
        for concept, members in self.concepts.items():
            wanted = {one.casefold() for one in members}
            for name in (n for n in subject.modalities if subject.kinds[n] == "text"):
                groups = np.full((rows, *shape_of(batch, name)), -1, np.int32)
                for row, words in enumerate(subject.words(batch, name)):
                    for word, places in words:
                        if word.casefold() in wanted:
                            groups[row, list(places)] = 0
                alone = np.ones((1, 1), bool)
                key = ("hidden", name)
                found = subject.call(key, self._hidden(subject, name), batch, choice, groups, alone)
                for row in range(rows):
                    if (groups[row] == 0).any():
                        told[row][concept] = float(before[row] - found[0][row])
        return [{"concepts": one} for one in told]


def _cells(size: int, cells: int) -> np.ndarray:
    """The number of the cell of each place of an axis."""
    return np.arange(size) * min(cells, size) // size


def _has_words(subject: Subject, name: str) -> bool:
    return subject.words is not None and subject.kinds[name] in ("text", "texts", "dialogue")


def _slid(count: int, width: int) -> Windows:
    """Windows of so many neighbours, slid by one from beyond an end, so that all are in as many."""
    width = min(width, count)
    first = np.arange(1 - width, count)[:, None]
    return (first <= np.arange(count)) & (np.arange(count) < first + width)


def _room(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def _shared(
    lost: Float[np.ndarray, "b w"], groups: Groups, windows: Windows
) -> Float[np.ndarray, "b ..."]:
    """Of each place the mean over its windows of their loss over their places."""
    found = np.zeros(groups.shape)
    count = windows.shape[1]
    for row, numbers in enumerate(groups):
        sizes = windows @ np.bincount(numbers[numbers >= 0].reshape(-1), minlength=count)
        each = (lost[row] / np.maximum(sizes, 1)) @ windows / np.maximum(windows.sum(axis=0), 1)
        found[row] = np.where(numbers >= 0, each[np.maximum(numbers, 0)], 0)
    return found
