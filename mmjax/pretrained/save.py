"""A module's variables as safetensors that transformers' torch class loads."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from mmjax.core.errors import WeightsError
from mmjax.core.files import atomic_path, write_json
from mmjax.pretrained import find
from mmjax.pretrained.folder import processor_files
from mmjax.pretrained.load import Pretrained
from mmjax.pretrained.match import Spelling, locate

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def save(
    encoder: Pretrained,
    folder: str | os.PathLike,
    *,
    max_shard_bytes: int = 5_000_000_000,
    overwrite: bool = False,
) -> Path:
    """Writes config.json, processor files and `model.safetensors`, in shards where it is large.

    The weights' type is that of the parameters. What `encoder` was loaded without (heads, other
    parts) is not written. Raises WeightsError if the folder holds weights already and `overwrite`
    is False, or if variables lack what the torch class needs.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.glob("*.safetensors*")) and not overwrite:
        raise WeightsError(
            656, f"'{folder}' holds weights already", fix="name another folder, or overwrite=True"
        )
    weights = their_weights(encoder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (_INDEX, *(path.name for path in folder.glob("model*.safetensors"))):
        (folder / name).unlink(missing_ok=True)
    _write_weights(folder, weights, max_shard_bytes)
    for name, path in processor_files(encoder.source).items():
        if not (folder / name).exists() or overwrite:
            shutil.copyfile(path, folder / name)
    config = copy.deepcopy(encoder.config)
    config.architectures = [find(encoder.model_type).saved_as]
    # transformers writes only what differs from its class' defaults, and reads that back.
    write_json(folder / "config.json", config.to_diff_dict())
    return folder


def their_weights(encoder: Pretrained) -> dict[str, np.ndarray]:
    """Every weight under its torch name, on the host."""
    family = find(encoder.model_type)
    flat = traverse_util.flatten_dict(dict(encoder.variables), sep="/")
    shapes = {path: tuple(array.shape) for path, array in flat.items()}
    pieces: dict[str, list[tuple[int, np.ndarray, int]]] = {}
    missing = []
    for leaf in family.table(encoder.config):
        path, layer = locate(leaf.ours, shapes)
        if path is None:
            missing.append(leaf.theirs)
            continue
        array = np.asarray(flat[path] if layer is None else flat[path][layer])
        start = leaf.part[0] if leaf.part else 0
        pieces.setdefault(leaf.theirs, []).append((start, leaf.save(array), leaf.axis))
    # What the folder lacked, such as the pooler of a masked language model, needs not be written.
    report = encoder.report
    held = [*(theirs for theirs, _ in report.loaded), *report.left_out, *report.ignored]
    spelling = Spelling(family, encoder.config, held)
    left_out = {spelling.canonical(name) for name in report.left_out}
    lost = sorted(name for name in {*missing} - {*pieces} if name in left_out)
    if lost:
        raise WeightsError(
            656,
            f"{family.saved_as} needs weights that this module does not have: "
            + ", ".join(f"'{name}'" for name in lost[:20]),
            fix="load it with the settings that the folder came with",
        )
    found = {name: _joined(several) for name, several in pieces.items()}
    return {**family.constants(encoder.config), **found}


def _joined(pieces: list[tuple[int, np.ndarray, int]]) -> np.ndarray:
    ordered = [array for _, array, _ in sorted(pieces, key=lambda piece: piece[0])]
    whole = ordered[0] if len(ordered) == 1 else np.concatenate(ordered, axis=pieces[0][2])
    return np.ascontiguousarray(whole)


def _write_weights(folder: Path, weights: Mapping[str, np.ndarray], most: int) -> None:
    shards = list(_shards(weights, most))
    if len(shards) == 1:
        _write(folder / _WHOLE, shards[0])
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write(folder / name, shard)
        weight_map |= dict.fromkeys(shard, name)
    total = sum(array.nbytes for array in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / _INDEX, index)


def _shards(weights: Mapping[str, np.ndarray], most: int) -> Iterator[dict[str, np.ndarray]]:
    shard: dict[str, np.ndarray] = {}
    for name, array in weights.items():
        if shard and sum(one.nbytes for one in shard.values()) + array.nbytes > most:
            yield shard
            shard = {}
        shard[name] = array
    yield shard


def _write(path: Path, weights: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file(weights, str(temporary), metadata={"format": "pt"})
