"""What a run trained, without what it left as it was: a folder of a few MB."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import CheckpointError, WeightsError
from mmjax.core.files import atomic_path, read_json, write_json

ARRAYS = "adapter.safetensors"
SETTINGS = "adapter.json"


@dataclasses.dataclass(frozen=True)
class Saved:
    """Adapters, and the parameters that were trained with them."""

    adapt: Mapping[str, Any]
    """JSON values of the config's `adapt`, of the adapters that are here."""
    arrays: Mapping[str, np.ndarray]
    """By their paths among the run's parameters, such as "task/head/kernel"."""
    about: Mapping[str, Any]
    """What they were trained on: run, step, encoders, where their weights came from."""


def save(folder: str | os.PathLike, saved: Saved) -> Path:
    """Writes `adapter.json` and `adapter.safetensors`.

    Raises WeightsError if the folder holds an adapter already.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    if (folder / SETTINGS).exists():
        raise WeightsError(656, f"'{folder}' holds an adapter already", fix="name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / ARRAYS) as temporary:
        arrays = {name: np.ascontiguousarray(one) for name, one in saved.arrays.items()}
        save_file(arrays, str(temporary))
    write_json(folder / SETTINGS, {"adapt": dict(saved.adapt), "about": dict(saved.about)})
    return folder


def load(folder: str | os.PathLike) -> Saved:
    """What `save` wrote. Raises WeightsError for a folder without it, or a damaged one."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    if not (folder / SETTINGS).is_file():
        raise WeightsError(
            651,
            f"'{folder}' has no {SETTINGS}",
            fix="name a folder that `mmjax adapter` or run.save_adapter wrote, or one of PEFT",
        )
    try:
        settings = read_json(folder / SETTINGS)
        arrays = load_file(str(folder / ARRAYS))
        return Saved(settings["adapt"], arrays, settings["about"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise WeightsError(
            653, f"the adapter is damaged: {error}", where=str(folder), fix="save it again"
        ) from error


def require_fit(saved: Saved, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raises CheckpointError for all arrays that a run does not have, or has in another shape."""
    missing = sorted(set(saved.arrays) - set(shapes))
    misshapen = [
        f"{name} {list(one.shape)}, there {list(shapes[name])}"
        for name, one in saved.arrays.items()
        if name in shapes and tuple(one.shape) != tuple(shapes[name])
    ]
    if missing or misshapen:
        told = [*(f"{name}, which is not there" for name in missing), *misshapen]
        more = f", and {len(told) - 6} more" if len(told) > 6 else ""
        raise CheckpointError(
            603,
            f"the adapter does not fit the run: {'; '.join(told[:6])}{more}",
            where=where,
            fix="load it onto a run of the same encoders, fusion and task",
        )
