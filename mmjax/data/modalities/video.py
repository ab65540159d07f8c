"""A column of videos."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import PIL.Image

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Float, Int, Shaped
from mmjax.data import video_decoding
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.paths import resolve_media
from mmjax.data.table import Table
from mmjax.data.transforms.augment import Augment
from mmjax.data.transforms.resize import Filter, Rule, part_to_square, to_square
from mmjax.data.video_processors import HuggingFace


@dataclasses.dataclass(frozen=True)
class Video:
    """Normalised pixels of a few frames of one video.

    Fields: `pixel_values` float32 [b t h w c], (x - mean) / std of x in [0, 1], and `frame_mask`
    bool [b t]. A video is cut into `frames` equal parts, of each of which one frame is seen: the
    middle one, or any in training. A shorter one has all its frames, and zeros after them.
    """

    column: str
    frames: int = 8
    size: int = 112
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = (0.5,)
    """One value, or one a channel."""
    std: tuple[float, ...] = (0.5,)
    resize: Rule = "crop"
    """The largest square in the middle, all of it out of shape, or all of it on the mean colour."""
    resample: Filter = "bilinear"
    frame_jitter: float = 1.0
    """The share of its part that a training frame may come from: 0 is the middle as in evaluation,
    1 anywhere."""
    augment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Training transforms by name, as `transforms.augment.Augment` takes them; the same for all
    frames of a video."""
    seconds: bool = False
    """Whether a batch also has `seconds` float32 [b 2]: when its first frame's part of the video
    begins, and that of its last one, of padding too, would end. Frames count as equally long."""
    frame_rate: float | None = None
    """Frames a second of arrays, and of files that do not say."""
    formats: tuple[str, ...] = video_decoding.FORMATS
    max_pixels: int = video_decoding.MAX_PIXELS
    """Of one frame."""
    max_frames: int = video_decoding.MAX_FRAMES
    """Of the whole video."""
    deadline_seconds: float = video_decoding.DEADLINE_SECONDS
    """How long the decoder may take for one video."""
    processor: str | None = None
    """The folder or hub id of a Hugging Face image or video processor, in place of `size`, `mean`,
    `std`, `resize` and `resample`."""

    meaning: ClassVar[tuple[str, ...]] = ("channels", "mean", "std", "processor")

    def __post_init__(self) -> None:
        wrong = {
            "frames": self.frames < 1,
            "size": self.size < 1,
            "mean": len(self.mean) not in (1, self.channels),
            "std": len(self.std) not in (1, self.channels) or min(self.std, default=0) <= 0,
            "frame_jitter": not 0 <= self.frame_jitter <= 1,
            "deadline_seconds": self.deadline_seconds <= 0,
            "frame_rate": self.frame_rate is not None and not self.frame_rate > 0,
            "channels": self.processor is not None and self.channels != 3,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="video modality",
                fix="give a size and frames of 1 or more, one value or one a channel, jitter in "
                "0 to 1; processors have 3 channels",
            )
        Augment(self.augment, where="video modality, augment")

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, cells: Cells, place: Place, *, decode: bool) -> bool:
        """The file is found, and decoded to its end if asked."""
        cell = cells[self.column]
        if _is_blank(cell):
            return False
        if decode:
            video_decoding.verify_video(cell, **self._limits(place))
        elif isinstance(cell, str):
            resolve_media(
                place.root(self.column),
                cell,
                where=place.where(self.column),
                max_bytes=video_decoding.MAX_BYTES,
            )
        return True

    def decode(
        self, cell: Any, place: Place, places: Sequence[float], make: video_decoding.Make
    ) -> list[np.ndarray]:
        """What `make` makes of the frames of a cell at `places` of its parts."""
        return video_decoding.decode_video(cell, places=places, make=make, **self._limits(place))

    def length(self, cell: Any, place: Place) -> float:
        """The seconds of a cell's video. Raises DataError if nothing says how many."""
        count, seconds = video_decoding.measure_video(cell, **self._limits(place))
        if seconds is not None:
            return seconds
        if self.frame_rate is None:
            raise DataError(
                428,
                "the video does not say when its frames are shown",
                where=place.where(self.column),
                fix="set frame_rate, in frames a second",
            )
        return count / self.frame_rate

    def _limits(self, place: Place) -> dict[str, Any]:
        return {
            "root": place.root(self.column),
            "where": place.where(self.column),
            "formats": self.formats,
            "max_pixels": self.max_pixels,
            "max_frames": self.max_frames,
            "deadline_seconds": self.deadline_seconds,
        }

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> VideoProcessor:
        """Learns nothing; the column must exist."""
        table.column(self.column)
        return VideoProcessor(
            self, None if self.processor is None else HuggingFace.load(self.processor)
        )

    def load(self, folder: Path) -> VideoProcessor:
        return VideoProcessor(
            self, None if self.processor is None else HuggingFace.load(str(folder))
        )


class VideoProcessor:
    """Facts: `frames`, `image_size`, `channels`."""

    padded_lengths: tuple[int, ...] = ()

    def __init__(self, settings: Video, theirs: HuggingFace | None):
        self._settings = settings
        self._theirs = theirs
        self._augment = Augment(settings.augment)
        self.random = bool(settings.augment) or settings.frame_jitter > 0
        mean, std = (settings.mean, settings.std) if theirs is None else (theirs.mean, theirs.std)
        self._size = settings.size if theirs is None else theirs.size
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        self.facts: dict[str, Any] = {
            "frames": settings.frames,
            "image_size": self._size,
            "channels": settings.channels,
        }

    def save(self, folder: Path) -> None:
        """The files of the Hugging Face processor, if there is one."""
        if self._theirs is not None:
            self._theirs.save(folder)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The frames of one video before augmentation, [t h w c], and the uniform numbers that
        augment them.
        """
        settings = self._settings
        cell = cells[settings.column]
        # Drawn whatever is there, so that what follows does not depend on it.
        places = np.full(settings.frames, 0.5)
        if rng is not None:
            places += settings.frame_jitter * (rng.random(settings.frames) - 0.5)
        if _is_blank(cell):
            return None
        make: video_decoding.Make = self._frame
        if rng is not None and self._augment.crop is not None:
            # One part for all frames of a video.
            make = functools.partial(self._part, draws=self._augment.crop.draw(rng))
        frames = settings.decode(cell, place, places.tolist(), make)
        example = {"pixel_values": np.stack(frames)}
        if settings.seconds:
            example["length"] = np.array(settings.length(cell, place), np.float32)
        if rng is not None and self._augment.draws:
            example["draws"] = rng.random(self._augment.draws)
        return example

    def _frame(self, picture: PIL.Image.Image) -> Shaped[np.ndarray, "h w c"]:
        if self._theirs is not None:
            return self._theirs(picture)
        settings = self._settings
        fill = tuple(int(value) for value in np.rint(self._mean * 255))
        return to_square(
            picture if settings.channels == 3 else picture.convert("L"),
            self._size,
            rule=settings.resize,
            resample=settings.resample,
            fill=fill * settings.channels if len(fill) == 1 else fill,
        )

    def _part(self, picture: PIL.Image.Image, draws: np.ndarray) -> Shaped[np.ndarray, "h w c"]:
        assert self._augment.crop is not None
        box = self._augment.crop.box(picture.size, draws)
        if self._theirs is not None:
            return self._theirs.part(picture, box)
        picture = picture if self._settings.channels == 3 else picture.convert("L")
        return part_to_square(picture, self._size, box, self._settings.resample)

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The same for all."""
        return np.full(len(rows), self._settings.frames, np.int32)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """Augments and normalises the frames; those that are not there are zeros."""
        settings = self._settings
        shape = (len(examples), settings.frames, self._size, self._size, settings.channels)
        batch, mask = np.zeros(shape, np.float32), np.zeros(shape[:2], bool)
        for i, example in enumerate(examples):
            if example is not None:
                count = len(example["pixel_values"])
                batch[i, :count] = self._normalised(example)
                mask[i, :count] = True
        fields = {"pixel_values": batch, "frame_mask": mask}
        if settings.seconds:
            fields["seconds"] = np.zeros((len(examples), 2), np.float32)
            for i, example in enumerate(examples):
                if example is not None:
                    each = float(example["length"]) / len(example["pixel_values"])
                    fields["seconds"][i, 1] = each * settings.frames
        return fields

    def _normalised(self, example: Example) -> Float[np.ndarray, "t h w c"]:
        frames = example["pixel_values"]
        if frames.dtype == np.uint8:
            frames = frames * np.float32(1 / 255)
        if "draws" in example:
            frames = self._augment(frames, np.tile(example["draws"], (len(frames), 1)))
        return (frames - self._mean) / self._std


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())
