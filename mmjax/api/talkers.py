"""Who converses: a run or a folder, and what hears."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmjax.api.conversing import Talker
from mmjax.api.run import Run
from mmjax.api.talking_models import ModelTalker
from mmjax.api.talking_runs import RunTalker
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core.errors import ConfigError


def talker(
    source: Any, *, modality: str | None = None, between: str = " ", retrieve: int = 0
) -> Talker:
    """One side of a conversation: of a run, a loaded model, or the folder of either.

    The options are those of a run (`talking_runs.RunTalker`). Raises ConfigError for what writes no
    texts, and WeightsError as `mmjax.load_pretrained`.
    """
    if isinstance(source, Run) or is_run(source):
        return RunTalker(source, modality=modality, between=between, retrieve=retrieve)
    if modality is not None or retrieve:
        raise ConfigError(
            109, f"modality={modality}, retrieve={retrieve} of a folder", fix="they are of runs"
        )
    return ModelTalker(source)


def is_run(source: Any) -> bool:
    """Whether it is the folder of a run; a Hugging Face folder has a config.json as well."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    folder = RunFolder(Path(source))
    return folder.exists() and folder.processors.is_dir()


def recogniser(source: Any) -> Callable[[Any], str]:
    """What makes words of a recording, by a run or folder of speech recognition."""
    from mmjax.api.pipeline import pipeline

    hear = pipeline("automatic-speech-recognition", model=source)
    return lambda path: str(hear(path)["text"])
