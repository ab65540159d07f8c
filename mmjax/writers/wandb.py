"""Weights & Biases."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mmjax.core import extras
from mmjax.core.files import atomic
from mmjax.core.registry import fact
from mmjax.writers.writer import Writer


@dataclasses.dataclass
class WandB(Writer):
    """Logs to a W&B run, whose id is kept in the run folder so that a resume goes on with it.

    Needs the extra `wandb`, and its API key in the environment or netrc (`wandb login`).
    """

    project: str = "mmjax"
    entity: str | None = None
    run_name: str | None = None
    """The run folder's name if None."""
    tags: tuple[str, ...] = ()
    mode: Literal["online", "offline", "disabled"] = "online"
    folder: Path = fact()
    resume_step: int | None = fact()
    config: Mapping[str, Any] | None = fact()
    _run: Any = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        extras.require("wandb", "wandb")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is None:
            self._run = self._start()
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def _start(self) -> Any:
        folder = Path(self.folder)
        kept = folder / "wandb_id"
        if self.resume_step is None or not kept.exists():
            with atomic(kept) as file:
                file.write(uuid.uuid4().hex[:12])
        return extras.require("wandb", "wandb").init(
            project=self.project,
            entity=self.entity,
            name=self.run_name or folder.name,
            tags=list(self.tags),
            mode=self.mode,
            dir=str(folder),
            config=dict(self.config or {}),
            id=kept.read_text(encoding="utf-8"),
            resume="allow",
        )
