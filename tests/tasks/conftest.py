"""Runs of tasks from a table to a report, as small and as quick as they can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_run

import mmjax
from mmjax.api.run import Run
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig


@pytest.fixture
def fast(monkeypatch):
    """One device, empty figures, and no program that makes the start."""
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)
    with tiny_run.one_device():
        yield


@pytest.fixture
def text_run(tmp_path: Path, fast: None) -> Callable[..., Run]:
    """`text_run(frame, target, task, metric)`: three steps on the tokens of the column `words` with
    the number of the column `weight` beside them; the run, loaded again.
    """

    def run(
        frame: Mapping[str, Any],
        target: tuple[str, Spec],
        task: Spec,
        metric: str,
        **modalities: Spec,
    ) -> Run:
        text = Spec("text", column="words", vocab_size=80, max_length=12, offsets=True)
        config = Config(
            data=DataConfig(
                source=Spec("frame"),
                modalities={
                    "text": text,
                    **modalities,
                    "table": Spec("table", numbers=("weight",)),
                },
                targets=dict([target]),
                batch_size=8,
                threads=1,
            ),
            model=ModelConfig(
                encoders={
                    "text": Spec("text_transformer", width=8, depth=1, heads=2),
                    "table": Spec("table", width=8, depth=0),
                },
                fusion=Spec("concat", width=8),
            ),
            task=task,
            optimizer=OptimizerConfig(learning_rate=3e-2),
            train=TrainConfig(duration="3 steps", best_metric=metric, log_every="1 steps"),
        )
        mmjax.train(config, tmp_path / "run", frame=frame)
        assert (tmp_path / "run" / "report.html").is_file()
        return mmjax.load_run(tmp_path / "run")

    return run
