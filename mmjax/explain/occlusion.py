"""What the score loses when a word, a piece of a picture, or a concept is hidden."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float, Int
from mmjax.explain import features as feature_lib
from mmjax.explain.base import Found, Method, total
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject
from mmjax.explain.tokens import shape_of

Groups = Int[np.ndarray, "b ..."]
"""The number of the piece that each place is of, -1 for none."""


@dataclasses.dataclass(frozen=True)
class Occlusion(Method):
    """Occlusion (Zeiler and Fergus 2014): each piece in turn is nothing, and the score is asked.

    Pieces are words, columns, frames, points, and cells of a picture, a volume or a spectrogram,
    `cells` along each axis. A place gets its piece's loss over the places of the piece, so that
    sums of places are losses. `concepts` are lists of words by name, which are hidden together;
    their losses are told in `facts`.
    """

    cells: int = 8
    concepts: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    about: ClassVar[str] = "what the score loses when a word or a piece of the input is hidden"

    def __hash__(self) -> int:
        return hash((self.cells, tuple(self.concepts)))

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        before = subject.scored(batch, choice)
        parts: dict[str, np.ndarray] = {}
        for name in subject.modalities:
            groups = self.groups(subject, batch, name)
            count = int(groups.max(initial=-1)) + 1
            if not count:
                continue
            # Few sizes, so that few programs are compiled.
            room = 1 << (count - 1).bit_length()
            asked = jnp.arange(room)
            found = subject.call(
                ("hidden", name), self._hidden(subject, name), batch, choice, groups, asked
            )
            lost = before[:, None] - found.T
            parts[name] = _shared(lost, groups)
        sums = {name: total(values) for name, values in parts.items()}
        return Found(sums, parts, facts=self._told(subject, batch, choice, before))

    def groups(self, subject: Subject, batch: Batch, name: str) -> Groups:
        """The pieces of every row of a modality; padding is of none."""
        found = self._pieces(subject, batch, name)
        return np.where(np.asarray(feature_lib.valid(batch, name, jnp.asarray(found))), found, -1)

    def _pieces(self, subject: Subject, batch: Batch, name: str) -> Groups:
        shape, rows = shape_of(batch, name), batch.row_mask.shape[0]
        if subject.words is not None and subject.kinds[name] in ("text", "texts", "dialogue"):
            found = np.full((rows, *shape), -1, np.int32)
            for row, words in enumerate(subject.words(batch, name)):
                for number, (_, places) in enumerate(words):
                    found[row, [p for p in places if p < shape[0]]] = number
            return found
        axes = [
            np.arange(size) if len(shape) == 1 and size <= 64 else _cells(size, self.cells)
            for size in shape
        ]
        if subject.kinds[name] == "video":
            axes = [np.arange(shape[0]), *(np.zeros(size, int) for size in shape[1:])]
        if subject.kinds[name] == "image" and len(shape) == 3:
            axes[0] = np.arange(shape[0])
        grid = np.zeros(shape, np.int32)
        for axis, numbers in enumerate(axes):
            along = numbers.reshape(-1, *[1] * (len(shape) - axis - 1))
            grid = grid * (int(numbers.max()) + 1) + along.astype(np.int32)
        return np.broadcast_to(grid, (rows, *shape)).copy()

    def _hidden(self, subject: Subject, name: str) -> Any:
        """Scores [groups b] with each group of a modality hidden in turn."""

        def scores(
            variables: Any, batch: Batch, choice: Choice, groups: Array, asked: Int[Array, "g"]
        ) -> Float[Array, "g b"]:
            own, nothing = subject.features(variables, batch, choice)

            def one(number: Array) -> Array:
                kept = {name: groups != number} if name in own else {}
                mixed = subject.mixed(batch, kept, own, nothing)
                return subject.scores(variables, batch, choice, mixed)

            return jax.lax.map(one, asked)

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
                asked = jnp.arange(1)
                key = ("hidden", name)
                found = subject.call(key, self._hidden(subject, name), batch, choice, groups, asked)
                for row in range(rows):
                    if (groups[row] == 0).any():
                        told[row][concept] = float(before[row] - found[0][row])
        return [{"concepts": one} for one in told]


def _cells(size: int, cells: int) -> np.ndarray:
    """The number of the cell of each place of an axis."""
    return np.arange(size) * min(cells, size) // size


def _shared(lost: Float[np.ndarray, "b g"], groups: Groups) -> Float[np.ndarray, "b ..."]:
    """Each group's loss over its places."""
    found = np.zeros(groups.shape)
    for row, numbers in enumerate(groups):
        sizes = np.bincount(numbers[numbers >= 0].reshape(-1), minlength=lost.shape[1])
        each = lost[row, : len(sizes)] / np.maximum(sizes, 1)
        found[row] = np.where(numbers >= 0, each[np.maximum(numbers, 0)], 0)
    return found
