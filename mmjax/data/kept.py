"""Outputs of an encoder on disk, by row, and the processor that makes batches of them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.files import digest_file, flocked, read_json, write_json
from mmjax.core.typing import Bool, Int
from mmjax.data.modalities.base import Cells, Example, Place, Processor
from mmjax.data.table import Table

log = logging.getLogger(__name__)

_ABOUT = "about.json"
_ROWS, PRESENT = "rows", "present"

Shapes = Mapping[str, tuple[tuple[int, ...], str]]
"""Of each field, the shape of a row and the dtype's name."""

Arrays = dict[str, np.ndarray]


class Store:
    """Arrays of some rows in a folder, read where they lie. Workers open it anew."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> Any:
        return Store, (self.folder,)

    @functools.cached_property
    def arrays(self) -> Arrays:
        """`rows`, ascending, `present`, and a field each."""
        shapes = read_json(self.folder / _ABOUT)["arrays"]
        return {
            name: _mapped(self.folder, name, tuple(one["shape"]), one["dtype"], "r")
            for name, one in shapes.items()
        }

    def places(self, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Where rows lie in the arrays. Raises DataError for one that is not kept."""
        known = self.arrays[_ROWS]
        found = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        if not np.array_equal(known[found], rows):
            raise DataError(
                222, "a row whose features were not kept", where=str(self.folder), fix="none"
            )
        return found

    def is_whole(self) -> bool:
        """Whether every file has the bytes that were written; a word in the log where one lacks."""
        try:
            digests = read_json(self.folder / _ABOUT)["digests"]
            found = {name: digest_file(self.folder / name) for name in digests}
            wrong = [name for name, kept in digests.items() if found[name] != kept]
        except FileNotFoundError:
            if not self.folder.exists():
                return False
            wrong = ["some file"]
        except (OSError, ValueError, KeyError, TypeError):
            wrong = [_ABOUT]
        if wrong:
            log.warning("%s of %s is damaged: it is made anew", wrong[0], self.folder)
        return not wrong


def write(
    folder: Path, rows: Int[np.ndarray, "n"], shapes: Shapes, fill: Callable[[Arrays], None]
) -> None:
    """A store of `rows`, ascending, in place of what may lie there, whole or not at all.

    `fill` writes into `present` and the fields, of which `shapes` tells.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    whole: dict[str, tuple[tuple[int, ...], str]] = {_ROWS: ((), "int64"), PRESENT: ((), "bool")}
    whole |= dict(shapes)
    try:
        arrays = {
            name: _mapped(temporary, name, (len(rows), *shape), dtype, "w+")
            for name, (shape, dtype) in whole.items()
        }
        arrays[_ROWS][:] = rows
        fill(arrays)
        about = {
            name: {"shape": list(one.shape), "dtype": whole[name][1]}
            for name, one in arrays.items()
        }
        for one in arrays.values():
            if isinstance(one, np.memmap):
                one.flush()
        digests = {f"{name}.bin": digest_file(temporary / f"{name}.bin") for name in arrays}
        write_json(temporary / _ABOUT, {"arrays": about, "digests": digests})
        shutil.rmtree(folder, ignore_errors=True)
        os.chmod(temporary, 0o755)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def locked(folder: Path, *, wanted: bool = True) -> Iterator[None]:
    """Within, no other run on this machine makes this folder: what one makes the next ones find.

    Does nothing if it is not `wanted`. Where there are no locks two runs may both make it, and the
    second one's stays.
    """
    if not wanted:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as file:
        flocked(file)
        yield


@contextlib.contextmanager
def claimed(folder: Path, number: int, *, wanted: bool = True) -> Iterator[bool]:
    """Whether this one, of the processes that see this folder, is to write it.

    They come with the same `number`, which no others have, and leave together. One that does not
    want it leaves it to others.
    """
    claim = folder.with_name(f".{folder.name}.{number}")
    try:
        if wanted:
            folder.parent.mkdir(parents=True, exist_ok=True)
            claim.touch(exist_ok=False)
    except FileExistsError:
        wanted = False
    try:
        yield wanted
    finally:
        if wanted:
            claim.unlink(missing_ok=True)


def _mapped(folder: Path, name: str, shape: tuple[int, ...], dtype: str, mode: Any) -> np.ndarray:
    path = folder / f"{name}.bin"
    if not math.prod(shape):
        path.touch()
        return np.zeros(shape, np.dtype(dtype))
    return np.memmap(path, np.dtype(dtype), mode, shape=shape)


@dataclasses.dataclass(frozen=True)
class Shaped:
    """What a modality's features are like, before there are any."""

    fields: Shapes
    """Of the longest rows."""
    lengths: Mapping[int, int]
    """Padded length of the raw rows -> tokens; empty if all have the same number."""


class KeptFeatures:
    """A modality whose batches hold what its encoder made of it: a `Processor`.

    Fields: `pooled` [b d], `mask` [b n] and, where they are kept, `values` [b n d]. `facts` and
    lengths are those of `raw`, the modality's own processor. `stores` holds the rows of training
    (True) and those of evaluation.
    """

    random = False

    def __init__(self, raw: Processor, shaped: Mapping[bool, Shaped]):
        self.raw = raw
        self.facts = raw.facts
        self._shaped = shaped
        # Without tokens there is nothing that a shorter batch would save.
        tokens = "values" in shaped[True].fields
        self.padded_lengths = raw.padded_lengths if tokens else ()
        self.stores: dict[bool, Store] = {}

    def save(self, folder: Path) -> None:
        self.raw.save(folder)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        row = np.array([place.row])
        for store in self.stores.values():
            with contextlib.suppress(DataError):
                return {"row": row} if store.arrays[PRESENT][store.places(row)[0]] else None
        raise DataError(222, f"no features were kept of row {place.row}", where=place.where())

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        return self.raw.lengths(table, rows)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> Arrays:
        shaped = self._shaped[train]
        batch = {
            name: np.zeros((len(examples), *shape), np.dtype(dtype))
            for name, (shape, dtype) in shaped.fields.items()
        }
        here: Bool[np.ndarray, "b"] = np.array([one is not None for one in examples], bool)
        if here.any():
            store = self.stores[train]
            places = store.places(np.concatenate([one["row"] for one in examples if one]))
            for name, array in batch.items():
                array[here] = store.arrays[name][places]
        if length is not None and length in shaped.lengths:
            count = shaped.lengths[length]
            batch = {n: a if n == "pooled" else a[:, :count] for n, a in batch.items()}
        return batch
