"""A column of points in space."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Float, Int
from mmjax.data import point_decoding
from mmjax.data.kinds import is_blank
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.paths import resolve_media
from mmjax.data.table import Table
from mmjax.data.transforms.points import AugmentPoints


@dataclasses.dataclass(frozen=True)
class Points:
    """A set of points, as radar and lidar measure them, in no order.

    Fields: `points` float32 [b p c] and `attention_mask` bool [b p]. Of more points than `count`
    some are taken: any in training, evenly spaced ones of the file in evaluation. Of fewer all
    are, and zeros after them. `point_decoding.decode_points` says what a cell may be.
    """

    column: str
    count: int = 1024
    axes: int = 3
    """So many of the first columns are where a point lies; the others were measured there."""
    columns: tuple[str, ...] = ()
    """The columns by name, in order, such as ("x", "y", "z", "intensity"); all if empty."""
    centre: bool = True
    """Whether the middle of each set (its mean) becomes the origin."""
    scale: Literal["none", "unit"] = "none"
    """Whether the farthest point of each set is brought to a distance of 1 from the origin."""
    mean: tuple[float, ...] = ()
    """One value a measured column, which becomes (x - mean) / std; as it is if empty."""
    std: tuple[float, ...] = ()
    sample: Literal["random", "even"] = "random"
    """Which points train where there are more than `count`: any, or those that evaluation sees."""
    augment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Training transforms by name, as `transforms.points.AugmentPoints` takes them."""
    key: str | None = None
    """Which array of an `npz` with several."""
    max_points: int = point_decoding.MAX_POINTS
    """Of a whole cell."""

    meaning: ClassVar[tuple[str, ...]] = ("axes", "columns", "centre", "scale", "mean", "std")

    def __post_init__(self) -> None:
        wrong = {
            "count": self.count < 1,
            "axes": self.axes < 1,
            "columns": bool(self.columns) and len(self.columns) < self.axes,
            "std": min(self.std, default=1.0) <= 0 or len(self.std) != len(self.mean),
            "max_points": self.max_points < 1,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="points modality",
                fix="counts and axes of 1 or more, at least as many columns as axes, and both mean "
                "and std or none",
            )
        AugmentPoints(self.augment, self.axes, where="points modality, augment")

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, cells: Cells, place: Place, *, decode: bool) -> bool:
        """The file is found, and read if asked."""
        cell = cells[self.column]
        if _is_missing(cell):
            return False
        if decode:
            self.decode(cell, place)
        elif isinstance(cell, str):
            resolve_media(
                place.root(self.column),
                cell,
                where=place.where(self.column),
                max_bytes=point_decoding.MAX_BYTES,
            )
        return True

    def decode(self, cell: Any, place: Place) -> Float[np.ndarray, "n c"]:
        """All points of a cell. Raises DataError for fewer columns than axes."""
        where = place.where(self.column)
        found = point_decoding.decode_points(
            cell,
            root=place.root(self.column),
            where=where,
            columns=self.columns,
            key=self.key,
            max_points=self.max_points,
        )
        if found.shape[1] < self.axes:
            raise DataError(
                446,
                f"the points have {found.shape[1]} columns, fewer than axes={self.axes}",
                where=where,
                fix=f"set axes={found.shape[1]}, or give whole places",
            )
        return found

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> PointsProcessor:
        """Learns how many columns there are, of the first training row that has points."""
        if self.columns:
            table.column(self.column)
            return PointsProcessor(self, len(self.columns))
        cells = table.column(self.column)
        for row in rows.tolist():
            if not _is_missing(cells[row]):
                return PointsProcessor(self, self.decode(cells[row], Place(table, row)).shape[1])
        raise DataError(
            501,
            f"no training row has points in '{self.column}'",
            where=table.name,
            fix="choose another column",
        )

    def load(self, folder: Path) -> PointsProcessor:
        """What `PointsProcessor.save` wrote."""
        return PointsProcessor(self, read_json(folder / "points.json")["channels"])


class PointsProcessor:
    """Facts: `count`, and `channels`, the columns of a point."""

    padded_lengths: tuple[int, ...] = ()

    def __init__(self, settings: Points, channels: int):
        measured = channels - settings.axes
        if settings.mean and len(settings.mean) != measured:
            raise ConfigError(
                109,
                f"{len(settings.mean)} means, and '{settings.column}' has {measured} columns that "
                "are no axes",
                where="points modality",
                fix="one mean and std a measured column, or none",
            )
        self._settings = settings
        self._channels = channels
        self._augment = AugmentPoints(settings.augment, settings.axes)
        self.random = bool(settings.augment) or settings.sample == "random"
        self.facts: dict[str, Any] = {"count": settings.count, "channels": channels}

    def save(self, folder: Path) -> None:
        """`points.json`: how many columns points have."""
        write_json(folder / "points.json", {"channels": self._channels})

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The points of one row that are kept, [n c]."""
        settings = self._settings
        cell = cells[settings.column]
        if _is_missing(cell):
            return None
        values = settings.decode(cell, place)
        if values.shape[1] != self._channels:
            raise DataError(
                447,
                f"the points have {values.shape[1]} columns, and those of other rows "
                f"{self._channels}",
                where=place.where(settings.column),
                fix="give every row as many, or name the columns",
            )
        values = self._placed(values)
        if rng is not None:
            values = self._augment(values, rng)
        return {"points": np.ascontiguousarray(self._some(values, rng), np.float32)}

    def _placed(self, values: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        settings = self._settings
        places, measured = np.split(values.astype(np.float64), [settings.axes], axis=1)
        if settings.centre:
            places = places - places.mean(axis=0)
        if settings.scale == "unit":
            places = places / max(float(np.linalg.norm(places, axis=1).max()), 1e-12)
        if settings.mean:
            measured = (measured - settings.mean) / settings.std
        return np.concatenate([places, measured], axis=1).astype(np.float32)

    def _some(
        self, values: Float[np.ndarray, "n c"], rng: np.random.Generator | None
    ) -> Float[np.ndarray, "m c"]:
        count = self._settings.count
        if len(values) <= count:
            return values
        if rng is not None and self._settings.sample == "random":
            return values[np.sort(rng.permutation(len(values))[:count])]
        return values[np.arange(count) * len(values) // count]

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The same for all."""
        return np.full(len(rows), self._settings.count, np.int32)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """Zeros where there are no points."""
        shape = (len(examples), self._settings.count, self._channels)
        batch, mask = np.zeros(shape, np.float32), np.zeros(shape[:2], bool)
        for i, example in enumerate(examples):
            if example is not None:
                kept = example["points"]
                batch[i, : len(kept)] = kept
                mask[i, : len(kept)] = True
        return {"points": batch, "attention_mask": mask}


def _is_missing(cell: Any) -> bool:
    return is_blank(cell) or (isinstance(cell, (list, tuple)) and not len(cell))
