"""A column of feature vectors in time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Float, Int
from mmjax.data.cells import shown
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.table import Table
from mmjax.data.transforms.readings import READINGS, AugmentReadings
from mmjax.data.transforms.sounds import BANDS, WAVEFORM, AugmentSound

_SMALLEST_DEVIATION = 1e-6


@dataclasses.dataclass(frozen=True)
class FeatureSequence:
    """Features at equal steps of time that somebody else computed: cepstra, sensor readings.

    A cell is an array or a list [t f], or [t] of one feature; without steps it is missing. Fields:
    `input_features` float32 [b t f] and `attention_mask` bool [b t], as audio bands have them, so
    that their encoders take both. Each feature is (x - mean) / std, by the steps of the training
    rows unless given. Longer sequences than `max_length` are cut, at random in training.
    """

    column: str
    max_length: int = 128
    """Steps."""
    lengths: tuple[int, ...] = ()
    """Shorter lengths that a batch may be padded to."""
    normalize: bool = True
    """Whether mean and deviation that are not given are learnt from the training rows."""
    mean: tuple[float, ...] = ()
    """One value a feature."""
    std: tuple[float, ...] = ()
    train_part: Literal["random", "same"] = "random"
    """Which part of a longer sequence trains: any, or the one that evaluation sees."""
    evaluate_part: Literal["middle", "start"] = "middle"
    step_seconds: float | None = None
    """Seconds from one step to the next. If given, a batch also has `seconds` float32 [b 2]: when
    its first position begins and its last one, of padding too, would end."""
    augment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Training transforms by name: those of `transforms.readings`, before features are normalised,
    then masks as `transforms.sounds.AugmentSound` has them of bands."""

    meaning: ClassVar[tuple[str, ...]] = ("normalize", "mean", "std")

    def __post_init__(self) -> None:
        wrong = {
            "max_length": self.max_length < 1,
            "lengths": any(not 0 < length <= self.max_length for length in self.lengths),
            "std": min(self.std, default=1) <= 0 or len(self.std) != len(self.mean),
            "step_seconds": self.step_seconds is not None and not self.step_seconds > 0,
            "augment": self.step_seconds is not None and "time_warp" in self.augment,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="sequence modality",
                fix="lengths lie in 1 to max_length, steps last some time and are not warped; "
                "give both mean and std, or none",
            )
        _split_augment(self.augment, "sequence modality, augment")
        for name in self.augment:
            if name in WAVEFORM:
                raise ConfigError(
                    106,
                    f"{name} changes waveforms, and sequences are none",
                    where="sequence modality, augment",
                    fix=f"use {', '.join((*READINGS, *BANDS))}",
                )

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, cells: Cells, place: Place, *, decode: bool = False) -> bool:
        return self.values(cells[self.column], place) is not None

    def values(self, cell: Any, place: Place) -> Float[np.ndarray, "t f"] | None:
        """The float32 features of a cell, None if it is missing.

        Raises DataError for what is no sequence of equally many finite numbers a step.
        """
        if cell is None or (isinstance(cell, (list, tuple)) and not len(cell)):
            return None
        where = place.where(self.column)
        try:
            with np.errstate(over="ignore"):
                values = np.asarray(cell).astype(np.float32, casting="same_kind")
        except (TypeError, ValueError):
            values = None
        if isinstance(cell, (str, bytes)) or values is None or values.ndim not in (1, 2):
            raise DataError(
                526,
                f"'{shown(cell)}' is no sequence of features",
                where=where,
                fix="give an array or a list, [steps, features]",
            )
        if not values.size:
            return None
        values = values.reshape(len(values), -1)
        if not np.isfinite(values).all():
            step, feature = np.argwhere(~np.isfinite(values))[0].tolist()
            raise DataError(
                527,
                f"feature {feature} of step {step} is no finite float32",
                where=where,
                fix="fill or leave out such steps",
            )
        return values

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> SequenceProcessor:
        """Means and deviations over the steps of the training rows; all have as many features."""
        cells = table.column(self.column)
        size, count = 0, 0
        total, squares = np.zeros(0), np.zeros(0)
        for row in rows.tolist():
            place = Place(table, row)
            values = self.values(cells[row], place)
            if values is None:
                continue
            if not count:
                size = values.shape[1]
                # Sums about the first step, which lose no digits where the mean is large.
                first = values[0].astype(np.float64)
                total, squares = np.zeros(size), np.zeros(size)
            _require_size(values, size, place.where(self.column))
            apart = values - first
            count += len(apart)
            total += apart.sum(axis=0)
            squares += np.square(apart).sum(axis=0)
        if not count:
            raise DataError(
                501,
                f"no training row has a sequence in '{self.column}'",
                where=table.name,
                fix="choose another column",
            )
        if self.mean or not self.normalize:
            mean = self.mean or (0.0,) * size
            return SequenceProcessor(self, mean, self.std or (1.0,) * size, size)
        variance = np.maximum(squares / count - np.square(total / count), 0)
        mean = first + total / count
        constant = np.sqrt(variance) <= _SMALLEST_DEVIATION * np.maximum(1, np.abs(mean))
        deviation = np.where(constant, 1.0, np.sqrt(variance))
        return SequenceProcessor(self, mean.tolist(), deviation.tolist(), size)

    def load(self, folder: Path) -> SequenceProcessor:
        """What `SequenceProcessor.save` wrote."""
        stored = read_json(folder / "sequence.json")
        return SequenceProcessor(self, stored["mean"], stored["std"], len(stored["mean"]))


class SequenceProcessor:
    """Facts: `mel_bins`, the features of a step, and `max_frames`, as of audio bands."""

    def __init__(
        self, settings: FeatureSequence, mean: Sequence[float], std: Sequence[float], size: int
    ):
        if len(mean) != size:
            raise ConfigError(
                109,
                f"{len(mean)} means, and '{settings.column}' has {size} features a step",
                where="sequence modality",
                fix="one mean and std a feature, or none",
            )
        self._settings = settings
        self._mean = np.array(mean, np.float64)
        self._std = np.array(std, np.float64)
        self._of_readings, self._augment = _split_augment(settings.augment)
        self.random = bool(settings.augment) or settings.train_part == "random"
        lengths = sorted({*settings.lengths, settings.max_length})
        self.padded_lengths = tuple(lengths) if settings.lengths else ()
        self.facts: dict[str, Any] = {"mel_bins": size, "max_frames": settings.max_length}

    def save(self, folder: Path) -> None:
        """`sequence.json`: mean and standard deviation of each feature."""
        found = {"mean": self._mean.tolist(), "std": self._std.tolist()}
        write_json(folder / "sequence.json", found)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The normalised features of one row, unpadded."""
        settings = self._settings
        # Drawn whatever is there, so that what follows does not depend on it.
        part = rng.random() if rng is not None else 0.0
        values = settings.values(cells[settings.column], place)
        if values is None:
            return None
        _require_size(values, len(self._mean), place.where(settings.column))
        if rng is None or settings.train_part == "same":
            part = 0.5 if settings.evaluate_part == "middle" else 0.0
        # A draw below 1 reaches the last start, too.
        spare = max(0, len(values) - settings.max_length)
        start = min(spare, int(part * (spare + 1)))
        values = values[start : start + settings.max_length]
        if rng is not None:
            values = self._of_readings(values, rng)
        values = ((values - self._mean) / self._std).astype(np.float32)
        if rng is not None and self._augment.of_bands:
            values = self._augment.bands(values, rng)
        return {"input_features": values, "first": np.array(start, np.int32)}

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Steps of each row that are kept."""
        settings = self._settings
        cells = table.column(settings.column)
        found = (settings.values(cells[row], Place(table, row)) for row in rows.tolist())
        steps = [0 if one is None else min(len(one), settings.max_length) for one in found]
        return np.array(steps, np.int32)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """Padded with zeros, the mean of the training rows, to `length`, `max_length` if None."""
        length = length or self._settings.max_length
        values = np.zeros((len(examples), length, len(self._mean)), np.float32)
        mask = np.zeros((len(examples), length), bool)
        for i, example in enumerate(examples):
            if example is not None:
                kept = example["input_features"][:length]
                values[i, : len(kept)] = kept
                mask[i, : len(kept)] = True
        fields = {"input_features": values, "attention_mask": mask}
        step = self._settings.step_seconds
        if step is not None:
            fields["seconds"] = np.zeros((len(examples), 2), np.float32)
            for i, example in enumerate(examples):
                if example is not None:
                    first = int(example["first"])
                    fields["seconds"][i] = first * step, (first + length) * step
        return fields


def _split_augment(
    settings: Mapping[str, Any], where: str = "augment"
) -> tuple[AugmentReadings, AugmentSound]:
    """What changes readings, and what masks them."""
    masks = {name: given for name, given in settings.items() if name not in READINGS}
    return AugmentReadings(settings, where=where), AugmentSound(masks, where=where)


def _require_size(values: Float[np.ndarray, "t f"], size: int, where: str) -> None:
    if values.shape[1] != size:
        raise DataError(
            528,
            f"{values.shape[1]} features a step, and other rows have {size}",
            where=where,
            fix="give every row as many",
        )
