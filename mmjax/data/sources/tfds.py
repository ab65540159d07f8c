"""Rows from a TensorFlow Datasets folder, without TensorFlow."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import DataError, nearest
from mmjax.data.cells import clean_cell, clean_text
from mmjax.data.table import Table


@dataclasses.dataclass(frozen=True)
class Tfds:
    """A data set that TFDS prepared as ArrayRecord.

    `dataset` is a name (`mnist`, `coco/2017`) looked up in `data_dir`, or the folder of a prepared
    version. `splits` are those to read, all if empty; slices such as `train[:10%]` are allowed. The
    column `split` names each row's, unless the data has such a column. Class labels are their
    names, pictures their encoded bytes, tensors arrays; both are read when they are asked for.
    `download` prepares the data first. Raises DataError for an unknown data set or split, and for
    another file format.
    """

    dataset: str
    splits: tuple[str, ...] = ()
    data_dir: str | None = None
    download: bool = False

    def read(self) -> Table:
        """The splits, one after another, as a table."""
        import tensorflow_datasets as tfds

        builder = self._builder(tfds)
        available = list(builder.info.splits)
        splits = self.splits or tuple(available)
        for split in splits:
            if split.partition("[")[0] not in available:
                raise DataError(
                    216,
                    f"no split '{split}'",
                    where=self.dataset,
                    fix=nearest(split, available) if available else "prepare it: download=true",
                )
        features = dict(builder.info.features)
        pictures = [name for name, f in features.items() if isinstance(f, tfds.features.Image)]
        try:
            sources = builder.as_data_source(
                split=list(splits),
                decoders={name: tfds.decode.SkipDecoding() for name in pictures},
            )
        except (NotImplementedError, ValueError, OSError) as error:
            raise DataError(
                216,
                str(error),
                where=self.dataset,
                fix="prepare it with file_format='array_record'",
            ) from error
        records = _Records(sources)
        if not len(records):
            raise DataError(201, "the data set has 0 rows", where=self.dataset, fix="see splits")
        small = {n: read for n, f in features.items() if (read := _small(tfds, f)) is not None}
        cells: dict[str, list[Any]] = {name: [] for name in small}
        for record in records if small else ():
            for name, read in small.items():
                cells[name].append(read(record[name]))
        columns: dict[str, Sequence[Any]] = {
            name: cells[name] if name in cells else _Column(records, name) for name in features
        }
        if "split" not in columns:
            columns["split"] = [
                split.partition("[")[0]
                for split, source in zip(splits, sources, strict=True)
                for _ in range(len(source))
            ]
        return Table(
            columns=columns,
            name=builder.info.full_name,
            fingerprint=_fingerprint(builder, splits),
        )

    def _builder(self, tfds: Any) -> Any:
        if os.path.isfile(os.path.join(self.dataset, "dataset_info.json")):
            return tfds.builder_from_directory(self.dataset)
        try:
            builder = tfds.builder(self.dataset, data_dir=self.data_dir)
        except tfds.core.DatasetNotFoundError as error:
            raise DataError(
                216,
                f"no data set '{self.dataset}'",
                where=f"data_dir={self.data_dir}",
                fix=nearest(self.dataset, tfds.list_builders(with_community_datasets=False)),
            ) from error
        if self.download:
            builder.download_and_prepare(file_format="array_record")
        return builder


class _Records(Sequence):
    """The records of several data sources, one after another."""

    def __init__(self, sources: Sequence[Sequence[dict[str, Any]]]):
        self._sources = list(sources)
        self._ends = list(itertools.accumulate(map(len, self._sources)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        index = range(len(self))[index]
        which = bisect.bisect_right(self._ends, index)
        return self._sources[which][index - (self._ends[which] - len(self._sources[which]))]


class _Column(Sequence):
    """One feature of the records, read when it is asked for."""

    def __init__(self, records: _Records, name: str):
        self._records = records
        self._name = name

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return clean_cell(self._records[int(index)][self._name])


def _small(tfds: Any, feature: Any) -> Callable[[Any], Any] | None:
    """What makes a cell of a feature that is read at once: text, a label, a number. Else None."""
    if isinstance(feature, tfds.features.ClassLabel):
        return lambda value: feature.int2str(int(value)) if value >= 0 else None
    if isinstance(feature, tfds.features.Text):
        return _decoded
    if isinstance(feature, tfds.features.Sequence):
        inner = _small(tfds, feature.feature)
        return None if inner is None else lambda values: [inner(value) for value in values]
    if isinstance(feature, tfds.features.Tensor) and not feature.shape:
        return None if feature.np_dtype is np.object_ else clean_cell
    return None


def _decoded(text: bytes) -> str:
    return clean_text(text.decode("utf-8", errors="replace"))


def _fingerprint(builder: Any, splits: Sequence[str]) -> str:
    """Of the name, version, features and the size of every shard: the records are not read."""
    infos = builder.info.splits
    parts = [builder.info.full_name, repr(builder.info.features), repr(tuple(splits))]
    parts += [f"{k} {s.shard_lengths} {s.num_bytes}" for k, s in sorted(infos.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
