"""A config from a file: Python, or the JSON that runs and searches write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, nearest
from mmjax.train.config import Config


def load_config(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """What `get_config()` of a Python file returns, or a JSON file such as a run's `config.json`.

    `settings` are "dotted.key=value" changes. Raises ConfigError for a file that is neither, and
    for anything in it that is no setting.
    """
    path = Path(path)
    if path.suffix != ".json":
        return config_lib.override(config_lib.load(path), settings)
    if not path.is_file():
        siblings = [str(p) for p in path.parent.glob("*.json")] if path.parent.is_dir() else []
        raise ConfigError(104, f"no config file '{path}'", fix=nearest(str(path), siblings))
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(104, f"no JSON: {error}", where=str(path), fix="correct it") from error
    if not isinstance(values, dict):
        raise ConfigError(104, "the file holds no config", where=str(path), fix="an object of JSON")
    return config_lib.override(config_lib.from_json(Config, values), settings)
