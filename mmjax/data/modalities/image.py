"""Columns of pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import PIL.Image

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Float, Int
from mmjax.data import decoding
from mmjax.data.image_processors import HuggingFace
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.paths import resolve_media
from mmjax.data.table import Table
from mmjax.data.transforms.augment import Augment
from mmjax.data.transforms.resize import Filter, Rule, part_to_square, to_square

_AT_ONCE = 2**15
"""Values that are augmented together: a few small pictures, that stay in cache, or a large one."""


@dataclasses.dataclass(frozen=True)
class Image:
    """Normalised pixels of one picture.

    Field: `pixel_values` float32 [b h w c], (x - mean) / std of x in [0, 1]. Several columns hold
    views of the same thing, of which a row may lack some. Evaluation with all of them has
    `pixel_values` [b v h w c]; a view that the row lacks is another one again.
    """

    columns: tuple[str, ...]
    size: int = 224
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = (0.5,)
    """One value, or one a channel."""
    std: tuple[float, ...] = (0.5,)
    resize: Rule = "crop"
    """The largest square in the middle, all of it out of shape, or all of it on the mean colour."""
    resample: Filter = "bicubic"
    augment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Training transforms by name, as `transforms.augment.Augment` takes them."""
    views: Literal["sample", "first"] = "sample"
    """Which of several columns trains: one at random, or the first."""
    evaluate_views: Literal["first", "all"] = "first"
    """Which of several columns evaluation sees: the first, or all, whose features are averaged."""
    formats: tuple[str, ...] = decoding.FORMATS
    max_pixels: int = decoding.MAX_PIXELS
    draft: bool = True
    """Decodes large JPEGs at a fraction of their size, no smaller than `size`."""
    processor: str | None = None
    """The folder or hub id of a Hugging Face image processor, in place of `size`, `mean`, `std`,
    `resize`, `resample` and `draft`."""

    meaning: ClassVar[tuple[str, ...]] = ("channels", "mean", "std", "processor")

    def __post_init__(self) -> None:
        wrong = {
            "columns": not self.columns,
            "size": self.size < 1,
            "mean": len(self.mean) not in (1, self.channels),
            "std": len(self.std) not in (1, self.channels) or min(self.std, default=0) <= 0,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="image modality",
                fix="give a column, a size of 1 or more, and one value or one a channel",
            )
        Augment(self.augment, where="image modality, augment")

    def reads(self) -> tuple[str, ...]:
        return self.columns

    def present(self, cells: Cells) -> list[str]:
        """The columns in which the row has a picture."""
        return [name for name in self.columns if not _is_blank(cells[name])]

    def check(self, cells: Cells, place: Place, *, decode: bool) -> bool:
        """Every view is found, and decoded if asked."""
        present = self.present(cells)
        for column in present:
            if decode:
                self.decode(cells[column], column, place)
            elif isinstance(cells[column], str):
                resolve_media(place.root(column), cells[column], where=place.where(column))
        return bool(present)

    def decode(
        self, cell: Any, column: str, place: Place, draft: int | None = None
    ) -> PIL.Image.Image:
        """The upright picture of a cell."""
        return decoding.decode_image(
            cell,
            root=place.root(column),
            where=place.where(column),
            channels=self.channels,
            max_pixels=self.max_pixels,
            formats=self.formats,
            draft=draft,
        )

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> ImageProcessor:
        """Learns nothing; the columns must exist."""
        for column in self.columns:
            table.column(column)
        return ImageProcessor(
            self, None if self.processor is None else HuggingFace.load(self.processor)
        )

    def load(self, folder: Path) -> ImageProcessor:
        return ImageProcessor(
            self, None if self.processor is None else HuggingFace.load(str(folder))
        )


class ImageProcessor:
    """Facts: `image_size`, `channels`."""

    padded_lengths: tuple[int, ...] = ()

    def __init__(self, settings: Image, theirs: HuggingFace | None):
        self._settings = settings
        self._theirs = theirs
        self._augment = Augment(settings.augment)
        several = settings.evaluate_views == "all" and len(settings.columns) > 1
        self._views = len(settings.columns) if several else 0
        # Also where the first of several views trains: that is not what evaluation may see.
        self.random = bool(settings.augment) or len(settings.columns) > 1
        mean, std = (settings.mean, settings.std) if theirs is None else (theirs.mean, theirs.std)
        self._size = settings.size if theirs is None else theirs.size
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        self.facts: dict[str, Any] = {"image_size": self._size, "channels": settings.channels}

    def save(self, folder: Path) -> None:
        """The files of the Hugging Face processor, if there is one."""
        if self._theirs is not None:
            self._theirs.save(folder)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """One picture before augmentation, [h w c], and the uniform numbers that augment it."""
        settings = self._settings
        present = settings.present(cells)
        # Drawn whatever is present, so that what follows does not depend on it.
        choice = rng.random() if rng is not None and settings.views == "sample" else 0.0
        if not present:
            return None
        if rng is None and self._views:
            columns = [present[i % len(present)] for i in range(self._views)]
            return {"pixel_values": np.stack([self._pixels(cells[c], c, place) for c in columns])}
        column = present[int(choice * len(present))]
        crop = None
        if rng is not None and self._augment.crop is not None:
            crop = self._augment.crop.draw(rng)
        example = {"pixel_values": self._pixels(cells[column], column, place, crop)}
        if rng is not None and self._augment.draws:
            example["draws"] = rng.random(self._augment.draws)
        return example

    def _pixels(
        self, cell: Any, column: str, place: Place, crop: np.ndarray | None = None
    ) -> np.ndarray:
        settings, size = self._settings, self._size
        if crop is not None and self._augment.crop is not None:
            # A small part of a picture must not be one of a picture made small before.
            side = math.ceil(size / math.sqrt(self._augment.crop.smallest))
            picture = settings.decode(cell, column, place, side if settings.draft else None)
            box = self._augment.crop.box(picture.size, crop)
            if self._theirs is not None:
                return self._theirs.part(picture, box)
            return part_to_square(picture, size, box, settings.resample)
        if self._theirs is not None:
            return self._theirs(settings.decode(cell, column, place))
        shape = (size, size, settings.channels)
        if isinstance(cell, np.ndarray) and cell.dtype == np.uint8 and cell.shape == shape:
            return cell
        picture = settings.decode(cell, column, place, size if settings.draft else None)
        fill = tuple(int(value) for value in np.rint(self._mean * 255))
        fill = fill * settings.channels if len(fill) == 1 else fill
        return to_square(picture, size, rule=settings.resize, resample=settings.resample, fill=fill)

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The same for all."""
        return np.ones(len(rows), np.int32)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, Float[np.ndarray, "b *v h w c"]]:
        """Augments and normalises the pictures."""
        shape: tuple[int, ...] = (self._size, self._size, self._settings.channels)
        if not train and self._views:
            shape = (self._views, *shape)
        batch = np.zeros((len(examples), *shape), np.float32)
        present = [i for i, example in enumerate(examples) if example is not None]
        step = max(1, _AT_ONCE // math.prod(shape))
        for start in range(0, len(present), step):
            rows = present[start : start + step]
            chunk = [example for i in rows if (example := examples[i]) is not None]
            batch[rows] = self._normalised(chunk)
        return {"pixel_values": batch}

    def _normalised(self, examples: Sequence[Example]) -> Float[np.ndarray, "b *v h w c"]:
        images = np.stack([example["pixel_values"] for example in examples])
        if images.dtype == np.uint8:
            images = images * np.float32(1 / 255)
        if "draws" in examples[0]:
            images = self._augment(images, np.stack([example["draws"] for example in examples]))
        return (images - self._mean) / self._std


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())
