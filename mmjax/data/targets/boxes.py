"""What is where in a picture."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Float, Int
from mmjax.data.box_cells import Box, Format, Outside, read_boxes
from mmjax.data.decoding import image_size
from mmjax.data.image_processors import load_backend
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.image import Image
from mmjax.data.table import Table
from mmjax.data.targets.base import Role, cell_of, columns_of

COLUMNS = ("cx", "cy", "width", "height", "label", "crowd", "area", "picture_area")
"""The numbers of a box in a batch."""
HARMLESS = ("cutout", "grayscale", "jitter", "noise")
"""Transforms of pictures in training that leave everything where it is."""


@dataclasses.dataclass(frozen=True)
class Boxes:
    """The labelled boxes of a row's picture.

    A cell is a list of `{"box": [4 numbers], "label": name}`, in JSON text too; of `format` "xywh"
    (COCO's), "xyxy" or "cxcywh"; `units` are "pixels" of the upright picture, or "relative" to its
    width and height. An optional "crowd": true marks a box around many things, which neither trains
    nor is counted against whoever finds it, and "area" the square pixels of the thing itself. An
    empty list is a picture without objects; an empty cell is refused, unless `missing="none"` says
    that it means the same. Boxes without a size, with numbers that are not finite, outside the
    picture (by more than a thousandth of it, which is cut), of an unknown name, and more than
    `most`, are refused; with `outside="clip"`, boxes are cut at the border instead, and what is
    left without a size is left out.

    Pixels need the picture's size: from the columns `size` of its width and height, or from the
    column `picture` itself, whose header is read. With either, sizes are known in square pixels, by
    which COCO tells small objects from large ones.

    The modality `image` must show the whole picture: `resize="squash"`, or a Hugging Face processor
    that does not crop, one column of pictures, and of the transforms in training only those that
    move nothing (`HARMLESS`); relative boxes then stay right. Anything else is refused.

    A batch has float32 [b most 8]: middle, width and height relative to the picture, the position
    of the name (-1 where there are no more), crowd, the area in square pixels, and that of the
    whole picture, which stands in all places; 0 where sizes are not known.
    """

    column: str
    format: Format = "xywh"
    units: Literal["pixels", "relative"] = "pixels"
    size: tuple[str, ...] = ()
    """The columns of the picture's width and height, in pixels."""
    picture: str | None = None
    """The column of the picture, if its header is to tell the size."""
    image: str = "image"
    """The modality that the boxes are seen in."""
    names: tuple[str, ...] | None = None
    """Those of the training rows in alphabetical order if None."""
    most: int = 32
    outside: Outside = "refuse"
    missing: Literal["refuse", "none"] = "refuse"

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        known = bool(self.size) or self.picture is not None
        wrong = {
            "most": self.most < 1,
            "size": len(self.size) not in (0, 2) or (bool(self.size) and self.picture is not None),
            "units": self.units == "pixels" and not known,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r}",
                where=f"targets of '{self.column}'",
                fix="room for 1 box or more; of boxes in pixels also size=('width', 'height') or "
                "picture='image', the columns that tell the size of the picture, not both",
            )

    @property
    def also(self) -> tuple[str, ...]:
        """The columns of the picture's size, or of the picture."""
        return self.size or (() if self.picture is None else (self.picture,))

    def check_modalities(self, modalities: Mapping[str, Any]) -> None:
        """Raises ConfigError unless the boxes' modality shows the whole picture as it is."""
        where = f"data.modalities.{self.image}"
        modality = modalities.get(self.image)
        if not isinstance(modality, Image):
            images = [name for name, one in modalities.items() if isinstance(one, Image)]
            raise ConfigError(
                109,
                f"boxes in '{self.image}', which is no modality of kind image",
                where=f"targets of '{self.column}'",
                fix=nearest(self.image, images),
            )
        if len(modality.columns) > 1:
            raise ConfigError(
                109, "boxes are of one picture a row", where=where, fix="give one column"
            )
        if modality.processor is not None:
            backend = load_backend(modality.processor)
            side = getattr(backend, "size", None) or {}
            cuts = getattr(backend, "do_center_crop", False) or getattr(backend, "do_pad", False)
            if cuts or "height" not in side:
                raise ConfigError(
                    109,
                    f"{type(backend).__name__} crops or pads pictures, and boxes do not follow",
                    where=f"{where}.processor",
                    fix="use one that resizes to a height and a width, or resize='squash'",
                )
        elif modality.resize != "squash":
            raise ConfigError(
                109,
                f"resize='{modality.resize}' moves what is in a picture, and boxes do not follow",
                where=f"{where}.resize",
                fix="set resize='squash'",
            )
        moving = [name for name in modality.augment if name not in HARMLESS]
        if moving:
            raise ConfigError(
                109,
                f"'{moving[0]}' moves what is in a picture, and boxes do not follow",
                where=f"{where}.augment",
                fix=f"leave it out; valid: {', '.join(HARMLESS)}",
            )

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for what are no boxes in the picture, and too many."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> tuple[list[Box], float]:
        """The boxes of a row, and the square pixels of its picture, 0 if they are not known."""
        where, size = place.where(self.column), None
        if self.also:
            cell, *more = cell
            size = self._size_of(more, place)
        area = 0.0 if size is None else size[0] * size[1]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            if self.missing == "none":
                return [], area
            raise DataError(
                530,
                "the row has no boxes",
                where=where,
                fix="give an empty list if it has none, or set missing=none",
            )
        unit = size if self.units == "pixels" else None
        boxes = read_boxes(cell, where, form=self.format, size=unit, outside=self.outside)
        if len(boxes) > self.most:
            raise DataError(
                531,
                f"the row has {len(boxes)} boxes, and there is room for {self.most}",
                where=where,
                fix=f"set most={len(boxes)} or more",
            )
        return boxes, area

    def _size_of(self, cells: Sequence[Any], place: Place) -> tuple[float, float] | None:
        if self.picture is not None:
            cell, where = cells[0], place.where(self.picture)
            if cell is None or (isinstance(cell, str) and not cell.strip()):
                if self.units == "relative":
                    return None
                raise DataError(
                    530,
                    "the boxes are in pixels, and the row has no picture to tell its size",
                    where=where,
                    fix="leave the row out, or give size=('width', 'height')",
                )
            across, down = image_size(cell, root=place.root(self.picture), where=where)
            return float(across), float(down)
        try:
            width, height = map(float, cells)
        except (TypeError, ValueError):
            width = height = math.nan
        if not (math.isfinite(width * height) and width > 0 and height > 0):
            raise DataError(
                531,
                f"a picture of {cells[0]!r} x {cells[1]!r}",
                where=place.where(self.size[0]),
                fix="give its width and height in pixels",
            )
        return width, height

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> BoxesProcessor:
        """The names, and how many boxes of the training rows have each."""
        columns = columns_of(self)
        counts = Counter(
            box.label
            for row in rows.tolist()
            for box in self.of(cell_of(table, columns, row), Place(table, row))[0]
        )
        names = sorted(counts) if self.names is None else list(self.names)
        if not names:
            raise DataError(
                532,
                f"'{self.column}' has no box in the training rows",
                where=table.name,
                fix="give some, or names",
            )
        return BoxesProcessor(self, names, [counts[name] for name in names])

    def load(self, folder: Path) -> BoxesProcessor:
        """What `BoxesProcessor.save` wrote."""
        stored = read_json(folder / "boxes.json")
        return BoxesProcessor(self, stored["names"], stored["counts"])


class BoxesProcessor:
    """Facts: `box_names`; `box_counts`, the boxes of the training rows that have each; and
    `most_boxes`, the room of a row.
    """

    def __init__(self, settings: Boxes, names: Sequence[str], counts: Sequence[int]):
        self._settings = settings
        self._ids = {name: i for i, name in enumerate(names)}
        self.facts: dict[str, Any] = {
            "box_names": tuple(names),
            "box_counts": tuple(counts),
            "most_boxes": settings.most,
        }

    def save(self, folder: Path) -> None:
        """`boxes.json`: the names in the order of their ids, and their counts."""
        names, counts = self.facts["box_names"], self.facts["box_counts"]
        write_json(folder / "boxes.json", {"names": list(names), "counts": list(counts)})

    def encode(self, cell: Any, place: Place) -> Float[np.ndarray, "most 8"]:
        """The boxes of a row. Raises DataError for an unknown name."""
        boxes, whole = self._settings.of(cell, place)
        found = self._nothing(whole)
        for i, box in enumerate(boxes):
            if box.label not in self._ids:
                raise DataError(
                    531,
                    f"box {i}: unknown label '{box.label}'",
                    where=place.where(self._settings.column),
                    fix=nearest(box.label, self._ids),
                )
            width, height = box.x1 - box.x0, box.y1 - box.y0
            own = whole * width * height if box.area is None else box.area
            middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
            numbers = (*middle, width, height, self._ids[box.label], box.crowd, own)
            found[i, :7] = numbers
        return found

    def collate(
        self, values: Sequence[Float[np.ndarray, "most 8"] | None]
    ) -> Float[np.ndarray, "b most 8"]:
        """float32; a row of padding has no box."""
        return np.stack([self._nothing(0.0) if value is None else value for value in values])

    def _nothing(self, whole: float) -> Float[np.ndarray, "most 8"]:
        found = np.zeros((self._settings.most, len(COLUMNS)), np.float32)
        found[:, 4], found[:, 7] = -1, whole
        return found
