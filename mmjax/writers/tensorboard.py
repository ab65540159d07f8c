"""TensorBoard event files, without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.core import extras
from mmjax.core.registry import fact
from mmjax.writers.writer import Writer


@dataclasses.dataclass
class TensorBoard(Writer):
    """Writes event files to `<folder>/tensorboard`; needs the extra `tensorboard`.

    After a resume, TensorBoard hides what was recorded after `resume_step`.
    """

    folder: Path = fact()
    resume_step: int | None = fact()
    flush_seconds: int = 30
    _events: Any = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        extras.require("tensorboardX", "tensorboard")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._events is None:
            self._events = extras.require("tensorboardX", "tensorboard").SummaryWriter(
                logdir=str(Path(self.folder) / "tensorboard"),
                purge_step=None if self.resume_step is None else self.resume_step + 1,
                flush_secs=self.flush_seconds,
            )
        for name, value in values.items():
            self._events.add_scalar(name, float(value), step)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
