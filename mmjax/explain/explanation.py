"""What is handed out of one row and one method: plain numbers, and a picture on request."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.files import atomic

_MOST = 4096
"""Numbers of a part that a line of JSON holds; of more, means of blocks."""


@dataclasses.dataclass(frozen=True)
class Part:
    """How much each place of one modality matters, and what is seen there.

    `values` has one number a place: tokens [n], pixels [h w] or, of several views or frames,
    [v h w], voxels [d h w], frames and bands [t f], samples [s], columns or points [n]; 0 where
    there is nothing. Above 0 a place speaks for the score, below against it, where `signed`.
    `shown` is the input to draw over, in the same places: a picture in [0, 1] with channels last,
    or numbers. `names` are the words, or the columns with their cells; `spans` the half-open range
    of places of each word.
    """

    kind: str
    values: np.ndarray
    shown: np.ndarray | None = None
    names: tuple[str, ...] = ()
    spans: tuple[tuple[int, ...], ...] = ()
    """The places of each of `names`; one each if empty."""
    signed: bool = True

    def named(self) -> list[tuple[str, float]]:
        """Each word or column, and the sum of its places."""
        spans = self.spans or tuple((index,) for index in range(len(self.names)))
        flat = self.values.reshape(-1)
        return [
            (name, float(flat[list(places)].sum()))
            for name, places in zip(self.names, spans, strict=True)
        ]

    def as_json(self) -> dict[str, Any]:
        """`{"kind", "names": [[name, number], ...]}` or `{"kind", "shape", "values"}`."""
        if self.names:
            return {"kind": self.kind, "names": [[n, _short(v)] for n, v in self.named()]}
        values = smaller(self.values)
        listed = np.vectorize(_short, otypes=[object])(values).tolist() if values.size else []
        return {"kind": self.kind, "shape": list(self.values.shape), "values": listed}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What a method says of one row.

    `explained` names what the score is of, such as a class. `modalities` is how much each matters,
    `parts` where; `pairs` what of one modality goes with what of another, by "text<-image" [n m].
    `facts` is what else the method found, as JSON. `checks` says how true it is, where that was
    asked: `deletion` and `insertion` (areas under curves of the probability as what matters goes or
    comes, each beside that of a random order and of the same map moved elsewhere), `randomised`
    (rank correlation with what random weights give).
    """

    row: int
    id: Any
    method: str
    explained: str
    score: float
    modalities: Mapping[str, float] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    pairs: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checks: Mapping[str, float] = dataclasses.field(default_factory=dict)
    picture: str | None = None
    """The path of its picture beside the line that tells of it, once written."""

    @property
    def drawable(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.modalities or self.parts)

    def draw(self, path: str | os.PathLike) -> Path:
        """A PNG: the inputs with what matters marked on them; whole or absent."""
        from mmjax.explain.drawing import png

        with atomic(path, "wb") as file:
            file.write(png(self))
        return Path(path)

    def as_json(self) -> dict[str, Any]:
        """One line of `explanations.jsonl`; what is not finite is null."""
        return {
            "row": self.row,
            "id": self.id,
            "method": self.method,
            "explained": self.explained,
            "score": _short(self.score),
            "modalities": {name: _short(value) for name, value in self.modalities.items()},
            "parts": {name: part.as_json() for name, part in self.parts.items()},
            "facts": plain(self.facts),
            "checks": {name: _short(value) for name, value in self.checks.items()},
            "picture": self.picture,
        }


def plain(value: Any) -> Any:
    """As JSON takes it: no arrays, no numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    if isinstance(value, (float, np.floating)):
        return _short(float(value))
    return value.item() if isinstance(value, np.generic) else value


def smaller(values: np.ndarray) -> np.ndarray:
    """The means of blocks of the longest axes, until there are few enough numbers."""
    while values.size > _MOST:
        axis = int(np.argmax(values.shape))
        even = values.shape[axis] // 2 * 2
        cut = np.take(values, range(even), axis=axis)
        shape = (*cut.shape[:axis], even // 2, 2, *cut.shape[axis + 1 :])
        values = cut.reshape(shape).mean(axis=axis + 1)
    return values


def _short(value: float) -> float | None:
    value = float(value)
    return float(f"{value:.6g}") if np.isfinite(value) else None
