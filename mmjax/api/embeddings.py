"""What `mmjax embed` wrote, as a thing to search in."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmjax.core.errors import DataError, nearest
from mmjax.core.typing import Float, Shaped

IDS = "ids"
FUSED = "fused"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Embeddings:
    """`ids` [n] and, by the name of their space, vectors [n d] that are read when asked for."""

    ids: Shaped[np.ndarray, "n"]
    spaces: Mapping[str, np.ndarray | None]
    path: Path | None = None

    @classmethod
    def of(cls, given: Embeddings | Mapping[str, np.ndarray] | str | os.PathLike) -> Embeddings:
        """From a .npz file, or the arrays that `run.embed` returned.

        Raises DataError for a file that is none, and arrays that are not `ids` and vectors.
        """
        if isinstance(given, Embeddings):
            return given
        if isinstance(given, Mapping):
            arrays = {name: np.asarray(array) for name, array in given.items()}
            return cls(_ids(arrays, "the embeddings"), _without_ids(arrays))
        path = Path(given)
        try:
            with _opened(path) as file:
                ids = {IDS: file[IDS]} if IDS in file.files else {}
                return cls(_ids(ids, str(path)), _without_ids(dict.fromkeys(file.files)), path)
        except FileNotFoundError as error:
            raise DataError(
                306, f"no file '{path}'", fix="mmjax embed RUN --out embeddings.npz writes one"
            ) from error
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _no_index(str(path), "is no .npz file") from error

    def __len__(self) -> int:
        return len(self.ids)

    def vectors(self, space: str) -> Float[np.ndarray, "n d"]:
        """The array of a space. Raises DataError if there is none, or it is none of n vectors."""
        where = "" if self.path is None else str(self.path)
        if space not in self.spaces:
            raise DataError(
                561, f"no embeddings '{space}'", where=where, fix=nearest(space, self.spaces)
            )
        array = self.spaces[space]
        if array is None:
            try:
                with _opened(Path(where)) as file:
                    array = file[space]
            except (ValueError, EOFError, zipfile.BadZipFile) as error:
                raise _no_index(where, f"has a damaged array '{space}'") from error
        if array.ndim != 2 or len(array) != len(self) or not array.shape[1]:
            raise DataError(
                560,
                f"'{space}' has shape {list(array.shape)} for {len(self)} ids",
                where=where,
                fix="expected [n d]",
            )
        if array.dtype.kind not in "fiuV":
            raise DataError(560, f"'{space}' is {array.dtype}", where=where, fix="expected numbers")
        return array


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    found = np.load(path, allow_pickle=False)
    if not isinstance(found, np.lib.npyio.NpzFile):
        raise _no_index(str(path), "is a single array")
    return found


def _ids(arrays: Mapping[str, np.ndarray], where: str) -> np.ndarray:
    if IDS not in arrays or arrays[IDS].ndim != 1:
        raise _no_index(where, "has no ids [n]")
    if not len(arrays[IDS]):
        raise DataError(563, "the index is empty", where=where, fix="embed some rows")
    return arrays[IDS]


def _without_ids(arrays: Mapping) -> dict:
    return {name: array for name, array in arrays.items() if name != IDS}


def _no_index(where: str, why: str) -> DataError:
    return DataError(
        560, f"the index {why}", where=where, fix="mmjax embed RUN --out embeddings.npz writes one"
    )
