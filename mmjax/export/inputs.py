"""Raw items to arrays: the host's half of a served model, without a data set."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.config import from_json
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.data.cells import clean_cell
from mmjax.data.config import DataConfig, kind_of
from mmjax.data.config import modalities as modality_registry
from mmjax.data.modalities.base import Place, Processor
from mmjax.data.paths import MAX_BYTES
from mmjax.data.table import Table
from mmjax.export.program import Example, Input, Prepared

Bucket = tuple[int, ...]
"""The length of each modality that is padded to one of several."""

MEDIA = ("image", "audio", "video", "volume", "points")

_TAKES = {
    "text": "a text",
    "dialogue": "the texts of the utterances before it, the farthest first",
    "image": "a picture: encoded bytes (JPEG, PNG, WebP, GIF, BMP, TIFF)",
    "audio": "a sound: encoded bytes (WAV, FLAC, OGG, MP3)",
    "video": "a video: encoded bytes",
    "volume": "a volume: encoded bytes, or a list of them for a series",
    "points": "a set of points: encoded bytes, or rows of numbers",
    "table": "a mapping of columns",
    "sequence": "rows of numbers, one a step",
    "items": "a list of keys, the latest last",
    "marks": 'parts of the text by name, such as {"head": [0, 3], "tail": [12, 20]}',
}
_LIMITS = (
    *("max_chars", "max_length", "max_pixels", "max_seconds", "max_frames", "formats"),
    *("deadline_seconds", "sample_rate"),
)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The modalities of a run with their processors, and the lengths that batches have.

    `lengths` are those of each modality that has several; `required` the modalities that an item
    must have.
    """

    config: DataConfig
    processors: Mapping[str, Processor]
    lengths: Mapping[str, tuple[int, ...]]
    required: tuple[str, ...] = ()

    @classmethod
    def load(
        cls,
        data: Mapping[str, Any],
        folder: Path,
        *,
        lengths: Mapping[str, Sequence[int]],
        required: Sequence[str] = (),
    ) -> Inputs:
        """Of the JSON of a `DataConfig`'s modalities, and the folder of their processors."""
        config = from_json(DataConfig, {"modalities": data})
        processors = {
            name: modality_registry.build(spec).load(folder / name)
            for name, spec in config.modalities.items()
        }
        given = {name: tuple(map(int, one)) for name, one in lengths.items()}
        return cls(config, processors, given, tuple(required))

    @functools.cached_property
    def _settings(self) -> dict[str, Any]:
        return {
            name: modality_registry.build(spec) for name, spec in self.config.modalities.items()
        }

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Every combination of lengths."""
        return tuple(itertools.product(*self.lengths.values()))

    def described(self) -> tuple[Input, ...]:
        """What each modality takes, for people and for checks."""
        return tuple(self._described())

    def _described(self) -> Iterator[Input]:
        for name, settings in self._settings.items():
            kind = kind_of(self.config.modalities[name])
            limits = {one: getattr(settings, one) for one in _LIMITS if hasattr(settings, one)}
            if "formats" in limits:
                limits["formats"] = list(limits["formats"])
            if "max_length" in limits and kind in ("text", "dialogue"):
                limits["max_tokens"] = limits.pop("max_length")
            if kind in MEDIA:
                limits["max_bytes"] = MAX_BYTES
            if kind == "image" and settings.processor is None:
                limits["resize"] = settings.resize
            fields = {}
            if kind == "table":
                names = self.processors[name].categories  # type: ignore[attr-defined]
                fields = {one: {"kind": "number"} for one in settings.numbers}
                fields |= {c: {"kind": "category", "values": list(v)} for c, v in names.items()}
            yield Input(
                name=name,
                kind=kind,
                required=name in self.required,
                columns=tuple(settings.reads()),
                takes=_TAKES.get(kind, "a value"),
                limits=limits,
                fields=fields,
            )

    def prepare(self, example: Example, *, paths: bool = False) -> Prepared:
        """One raw item, checked and read; see `Program.prepare`."""
        columns = self._columns(example, paths=paths)
        table = self._table(example, columns)
        place = Place(table, len(table) - 1)
        arrays: dict[str, Any] = {}
        for name, processor in self.processors.items():
            cells = {one: table.columns[one][place.row] for one in self._settings[name].reads()}
            arrays[name] = processor.example(cells, place, None)
        missing = [name for name in self.required if arrays[name] is None]
        if missing or all(one is None for one in arrays.values()):
            wanted = f"'{missing[0]}'" if missing else f"any of {', '.join(arrays)}"
            raise DataError(218, f"the item has not {wanted}", where="item", fix="give it")
        real = {
            name: self._length(name, arrays[name], place) for name in (*self.lengths, *self._fixed)
        }
        bucket = tuple(
            next((one for one in choices if one >= real[name]), choices[-1])
            for name, choices in self.lengths.items()
        )
        padded = {**self._fixed, **dict(zip(self.lengths, bucket, strict=True))}
        return Prepared(
            arrays,
            bucket,
            self._texts(columns),
            size=sum(min(real[name], most) for name, most in padded.items()),
            padded=sum(padded.values()),
        )

    def _table(self, example: Example, columns: Mapping[str, Any]) -> Table:
        """The item as a row, below the utterances before it where there is a dialogue."""
        said: dict[str, Sequence[Any]] = {}
        for name, spec in self.config.modalities.items():
            if kind_of(spec) == "dialogue" and isinstance(example.get(name), (list, tuple)):
                said[name] = example[name]
        longest = max(map(len, said.values()), default=0)
        rows: dict[str, list[Any]] = {
            name: [*[None] * longest, cell] for name, cell in columns.items()
        }
        for name, texts in said.items():
            settings = self._settings[name]
            rows[settings.dialogue] = ["item"] * (longest + 1)
            for i, text in enumerate(texts):
                where = longest - len(texts) + i
                column = settings.column
                rows[column][where] = _cell(text, column, "text", paths=False)
            if settings.turn is not None:
                rows[settings.turn] = list(range(longest + 1))
        return Table(rows, "item", "", places=["item"] * (longest + 1))

    @functools.cached_property
    def _fixed(self) -> dict[str, int]:
        """The length of each modality that has one alone."""
        return {
            name: int(processor.facts["max_length"])
            for name, processor in self.processors.items()
            if name not in self.lengths and "max_length" in processor.facts
        }

    def _length(self, name: str, example: Any, place: Place) -> int:
        """How long an example is before it is padded or cut; 0 of one that is missing."""
        if example is None:
            return 0
        if "input_ids" in example:
            return len(example["input_ids"])
        return int(self.processors[name].lengths(place.table, np.array([place.row]))[0])

    def _texts(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for name, spec in self.config.modalities.items():
            if kind_of(spec) == "text":
                cell = columns[spec.options["column"]]
                found[name] = None if cell is None else str(cell)
        return found

    def _columns(self, example: Example, *, paths: bool) -> dict[str, Any]:
        """The cell of every column that is read."""
        if not isinstance(example, Mapping):
            raise DataError(
                214, f"an item of type {type(example).__name__}", where="item", fix="a mapping"
            )
        reads = {name: settings.reads() for name, settings in self._settings.items()}
        kinds = {
            column: kind_of(self.config.modalities[name])
            for name, columns in reads.items()
            for column in columns
        }
        cells: dict[str, Any] = dict.fromkeys(kinds)
        for name, value in example.items():
            if name in reads and kind_of(self.config.modalities[name]) == "table":
                if value is not None and not isinstance(value, Mapping):
                    raise DataError(
                        214,
                        f"'{name}' is {type(value).__name__}",
                        where=f"item:{name}",
                        fix=f"a mapping of columns: {', '.join(reads[name])}",
                    )
                given = dict(value or {})
            elif name in reads and kind_of(self.config.modalities[name]) == "dialogue":
                # Its texts are rows of their own.
                given = {} if isinstance(value, (list, tuple)) or value is None else {name: value}
            elif name in reads:
                given = {name if name in cells else reads[name][0]: value}
            else:
                given = {name: value}
            for column, cell in given.items():
                if column not in cells:
                    raise DataError(
                        214,
                        f"the model reads no '{column}'",
                        where="item",
                        fix=nearest(str(column), (*reads, *cells)),
                    )
                cells[column] = _cell(cell, column, kinds[column], paths=paths)
        return cells

    def collate(self, examples: Sequence[Prepared], bucket: Bucket, size: int) -> dict[str, Any]:
        """The fields of one batch of `size` rows, the last of them empty."""
        lengths = dict(zip(self.lengths, bucket, strict=True))
        rows: list[Mapping[str, Any]] = [one.arrays for one in examples]
        rows += [dict.fromkeys(self.processors)] * (size - len(rows))
        inputs, present = {}, {}
        for name, processor in self.processors.items():
            own = [row[name] for row in rows]
            inputs[name] = processor.collate(own, lengths.get(name), train=False)
            present[name] = np.array([one is not None for one in own], bool)
        mask = np.arange(size) < len(examples)
        return {"inputs": inputs, "present": present, "row_mask": mask}


def _cell(value: Any, column: str, kind: str, *, paths: bool) -> Any:
    """A raw value as a table holds it."""
    where = f"item:{column}"
    if kind in MEDIA and isinstance(value, (str, os.PathLike)):
        if not paths:
            raise DataError(
                304,
                f"a path, '{str(value)[:80]}', where files are not read",
                where=where,
                fix=f"give {_TAKES[kind]}",
            )
        try:
            value = Path(value).read_bytes()
        except OSError as error:
            raise DataError(301, f"'{value}' cannot be read: {error.strerror}", where=where) from (
                error
            )
    if isinstance(value, (bytes, bytearray)) and len(value) > MAX_BYTES:
        raise DataError(
            309,
            f"{len(value)} bytes, over the limit of {MAX_BYTES}",
            where=where,
            fix="send less",
        )
    if kind not in MEDIA and isinstance(value, (bytes, bytearray)):
        raise DataError(503, f"{len(value)} bytes", where=where, fix=_TAKES.get(kind, "a value"))
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(521, f"{value} is no finite number", where=where, fix="leave it out")
    return clean_cell(value)


def lengths_of(
    processors: Mapping[str, Processor], asked: Mapping[str, Sequence[int]] | None = None
) -> dict[str, tuple[int, ...]]:
    """The lengths of each modality that has several: those `asked` for, or the run's own.

    Raises ConfigError for a modality that has none, and lengths out of range.
    """
    found = {name: one.padded_lengths for name, one in processors.items() if one.padded_lengths}
    for name, lengths in (asked or {}).items():
        longest = processors[name].facts.get("max_length") if name in processors else None
        if longest is None:
            can = [one for one, p in processors.items() if "max_length" in p.facts]
            raise ConfigError(
                109, f"lengths of '{name}'", where="lengths", fix=nearest(name, can or ("none",))
            )
        chosen = sorted({*map(int, lengths), int(longest)})
        if chosen[0] < 1 or chosen[-1] > longest:
            raise ConfigError(
                106, f"lengths of '{name}': {chosen}", where="lengths", fix=f"1 to {longest}"
            )
        found[name] = tuple(chosen)
    return found
