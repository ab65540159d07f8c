"""Whether a run is finished, and may go on with these settings and this data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core.config import differences, from_json, to_json
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json
from mmjax.data.dataset import Dataset
from mmjax.train.config import Config

_FREE = (
    "mesh",
    "data.threads",
    "data.workers",
    "data.prefetch",
    "data.eval_batch_size",
    "train.log_every",
    "train.writers",
    "train.keep_last",
    "train.keep_best",
    "train.feature_cache",
)
"""Settings that change neither the parameters nor the data order."""


def require_same_config(stored: Mapping[str, Any], asked: Mapping[str, Any], run: str) -> None:
    """Raises ConfigError naming every setting that would change the course of the run."""
    # A setting that came after the run was started has its default.
    whole = to_json(from_json(Config, stored))
    changed = [
        line
        for line in differences(whole, asked)
        if not any(line.startswith((f"{free}:", f"{free}.")) for free in _FREE)
    ]
    if changed:
        raise ConfigError(
            110,
            f"the run was started with other settings: {'; '.join(changed[:8])}",
            where=run,
            fix="resume with its own settings, or start a new --workdir",
        )


def require_same_data(stored: str, found: str, run: str) -> None:
    """Raises DataError if the rows, splits or their settings are not those of the run."""
    if stored != found:
        raise DataError(
            223,
            "the data has changed since the run was started",
            where=run,
            fix="restore the data, or start a new --workdir",
        )


def has_validation(dataset: Dataset) -> bool:
    return len(dataset.splits.get("validation", ())) > 0


def finished(folder: RunFolder) -> bool:
    """Whether training in this folder came to its end."""
    status = folder.path / "status.json"
    return status.is_file() and read_json(status)["status"] == "finished"
