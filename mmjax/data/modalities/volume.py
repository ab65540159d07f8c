"""A column of volumes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Float, Int
from mmjax.data import volume_decoding
from mmjax.data.kinds import is_blank
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.table import Table
from mmjax.data.transforms.resize import Rule
from mmjax.data.transforms.volumes import AugmentVolume, crop_or_pad, to_size, to_spacing

_SMALLEST_DEVIATION = 1e-6


@dataclasses.dataclass(frozen=True)
class Volume:
    """The normalised voxels of one volume, such as a CT or MR scan.

    Field: `voxel_values` float32 [b d h w c]. `volume_decoding.decode_volume` says what a cell may
    be, and how files of medicine are turned upright.
    """

    column: str
    size: tuple[int, int, int] = (32, 64, 64)
    """Depth, height and width in voxels."""
    channels: int | None = None
    """As many as the first training volume has if None."""
    window: tuple[float, float] | None = None
    """Level and width of what is seen, in the units of the file (Hounsfield units of a CT: 40 and
    400 show soft tissue, -600 and 1500 lungs): it becomes 0 to 1, and what lies beyond is cut."""
    resize: Rule = "squash"
    """The largest part of that shape in the middle, all of it out of shape, or all of it amid its
    lowest value."""
    spacing: tuple[float, float, float] | None = None
    """Millimetres from one voxel to the next. If given, volumes are brought to that, by what their
    files say, and then cut or padded to `size` instead of resized."""
    normalize: Literal["each", "fixed"] = "each"
    """Whether each volume has mean 0 and deviation 1, or all are (x - mean) / std."""
    mean: tuple[float, ...] = (0.0,)
    """One value, or one a channel; of windowed values if there is a window."""
    std: tuple[float, ...] = (1.0,)
    augment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Training transforms by name, as `transforms.volumes.AugmentVolume` takes them."""
    key: str | None = None
    """Which array of an `npz` with several."""
    max_voxels: int = volume_decoding.MAX_VOXELS

    meaning: ClassVar[tuple[str, ...]] = (
        *("channels", "window", "spacing", "normalize", "mean", "std"),
    )

    def __post_init__(self) -> None:
        wrong = {
            "size": len(self.size) != 3 or min(self.size) < 1,
            "channels": self.channels is not None and self.channels < 1,
            "window": self.window is not None and not self.window[1] > 0,
            "spacing": self.spacing is not None
            and (len(self.spacing) != 3 or not min(self.spacing) > 0),
            "std": not min(self.std, default=0) > 0 or len(self.std) != len(self.mean),
            "max_voxels": self.max_voxels < 1,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="volume modality",
                fix="give three sizes of 1 or more, a window (level, width), and as many of mean "
                "as of std",
            )
        AugmentVolume(self.augment, where="volume modality, augment")

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, cells: Cells, place: Place, *, decode: bool) -> bool:
        """The file or folder is found, and read if asked."""
        cell = cells[self.column]
        if is_blank(cell):
            return False
        if decode:
            self.decode(cell, place)
        else:
            where = place.where(self.column)
            volume_decoding.find_volume(cell, root=place.root(self.column), where=where)
        return True

    def decode(
        self, cell: Any, place: Place, channels: int | None = None
    ) -> Float[np.ndarray, "d h w c"]:
        """The voxels of a cell in `size`, windowed and not normalised.

        Raises DataError for other than `channels`, the setting if None.
        """
        where = place.where(self.column)
        values, spacing = volume_decoding.decode_volume(
            cell,
            root=place.root(self.column),
            where=where,
            channels=channels or self.channels,
            key=self.key,
            max_voxels=self.max_voxels,
        )
        if self.window is not None:
            level, width = self.window
            values = np.clip((values - np.float32(level)) / np.float32(width) + 0.5, 0, 1)
        if self.spacing is None:
            return to_size(values, self.size, self.resize)
        if spacing is None:
            raise DataError(
                436,
                "the volume does not say how far apart its voxels are",
                where=where,
                fix="leave out spacing, or give NIfTI files or DICOM series",
            )
        return crop_or_pad(to_spacing(values, spacing, self.spacing), self.size)

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> VolumeProcessor:
        """Learns how many channels there are, if no setting says it."""
        cells = table.column(self.column)
        if self.channels is not None:
            return VolumeProcessor(self, self.channels)
        for row in rows.tolist():
            if not is_blank(cells[row]):
                found = self.decode(cells[row], Place(table, row))
                return VolumeProcessor(self, found.shape[-1])
        raise DataError(
            501,
            f"no training row has a volume in '{self.column}'",
            where=table.name,
            fix="choose another column",
        )

    def load(self, folder: Path) -> VolumeProcessor:
        """What `VolumeProcessor.save` wrote."""
        return VolumeProcessor(self, read_json(folder / "volume.json")["channels"])


class VolumeProcessor:
    """Facts: `volume_size`, `channels`."""

    padded_lengths: tuple[int, ...] = ()

    def __init__(self, settings: Volume, channels: int):
        if len(settings.mean) not in (1, channels):
            raise ConfigError(
                109,
                f"{len(settings.mean)} means, and '{settings.column}' has {channels} channels",
                where="volume modality",
                fix="one mean and std, or one a channel",
            )
        self._settings = settings
        self._channels = channels
        self._augment = AugmentVolume(settings.augment)
        self._mean = np.array(settings.mean, np.float32)
        self._std = np.array(settings.std, np.float32)
        self.random = bool(settings.augment)
        self.facts: dict[str, Any] = {
            "volume_size": settings.size,
            "channels": channels,
        }

    def save(self, folder: Path) -> None:
        """`volume.json`: how many channels volumes have."""
        write_json(folder / "volume.json", {"channels": self._channels})

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The normalised voxels of one row."""
        cell = cells[self._settings.column]
        if is_blank(cell):
            return None
        values = self._normalised(self._settings.decode(cell, place, self._channels))
        if rng is not None:
            values = self._augment(values, rng)
        return {"voxel_values": np.ascontiguousarray(values, np.float32)}

    def _normalised(self, values: Float[np.ndarray, "d h w c"]) -> Float[np.ndarray, "d h w c"]:
        if self._settings.normalize == "fixed":
            return (values - self._mean) / self._std
        mean = values.mean(axis=(0, 1, 2), dtype=np.float64)
        deviation = np.maximum(values.std(axis=(0, 1, 2), dtype=np.float64), _SMALLEST_DEVIATION)
        return ((values - mean) / deviation).astype(np.float32)

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The same for all."""
        return np.ones(len(rows), np.int32)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, Float[np.ndarray, "b d h w c"]]:
        """Zeros where there is no volume."""
        shape = (len(examples), *self._settings.size, self._channels)
        batch = np.zeros(shape, np.float32)
        for i, example in enumerate(examples):
            if example is not None:
                batch[i] = example["voxel_values"]
        return {"voxel_values": batch}
