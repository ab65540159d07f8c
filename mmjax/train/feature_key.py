"""What the outputs of an encoder depend on, as a name: weights, settings, data, kind of device."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xxhash
from jax.experimental import multihost_utils

import mmjax
from mmjax.checkpoint.digests import digest_array
from mmjax.core import config as config_lib
from mmjax.core.files import digest_file
from mmjax.core.typing import Int
from mmjax.data.dataset import Dataset
from mmjax.data.modalities.base import Place
from mmjax.train.config import Config
from mmjax.train.optim import path_of

_FORMAT = 1


def of(
    config: Config,
    dataset: Dataset,
    name: str,
    variables: Mapping[str, Any],
    rows: Int[np.ndarray, "n"],
    more: Any,
) -> str:
    """A name of 32 letters for the features of these rows; `more` is anything else they vary with.

    Media files are known by their size and time of change, all else by its content. The kind of
    device and the version of mmjax are part of it: others may compute other last bits.
    """
    settings = config_lib.to_json(config)
    table, columns = dataset.table, dataset.columns[name]
    known = {
        "format": _FORMAT,
        "version": mmjax.__version__,
        "backend": jax.default_backend(),
        "encoder": settings["model"]["encoders"][name],
        "types": [config.model.dtype, config.model.param_dtype],
        "weights": weights(variables),
        "modality": settings["data"]["modalities"][name],
        "facts": dataset.modalities[name].facts,
        "processor": _files_of(dataset.modalities[name]),
        "table": table.fingerprint,
        "media": _media(dataset, columns, rows),
        "rows": digest_array(rows),
        "more": more,
    }
    text = json.dumps(known, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def weights(variables: Any) -> str:
    """A digest of arrays and their names, the same on every mesh."""
    hasher = xxhash.xxh3_128()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if isinstance(leaf, jax.Array) and not (
            leaf.is_fully_addressable or leaf.is_fully_replicated
        ):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.asarray(leaf)
        hasher.update(f"{path_of(path)} {array.dtype} {array.shape} {digest_array(array)}".encode())
    return hasher.hexdigest()


def _files_of(processor: Any) -> dict[str, str]:
    """Digests of what the processor learnt, as it saves it."""
    with tempfile.TemporaryDirectory() as folder:
        processor.save(Path(folder))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): digest_file(path) for path in files}


def _media(dataset: Dataset, columns: tuple[str, ...], rows: Int[np.ndarray, "n"]) -> str:
    """A digest of the sizes and times of files that cells name."""
    hasher = xxhash.xxh3_128()
    for column in columns:
        cells = dataset.table.column(column)
        for row in rows.tolist():
            root, cell = Place(dataset.table, row).root(column), cells[row]
            if root is None or not isinstance(cell, str):
                continue
            try:
                found = (root / cell).stat()
            except (OSError, ValueError):
                continue
            hasher.update(f"{column} {row} {found.st_size} {found.st_mtime_ns} ".encode())
    return hasher.hexdigest()
