"""The folder of one run: where everything lies, and what it takes to be a run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from mmjax.checkpoint.lock import Lock
from mmjax.core.errors import CheckpointError, nearest
from mmjax.core.files import read_json, write_json


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The known paths of a run.

        config.json  facts.json  processors/  checkpoints/<step>/  metrics.jsonl  report.html

    A folder is a run once it holds `config.json`.
    """

    path: Path

    def __init__(self, path: str | Path):
        object.__setattr__(self, "path", Path(path))

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def facts(self) -> Path:
        return self.path / "facts.json"

    @property
    def tuned(self) -> Path:
        return self.path / "tuned.json"

    @property
    def processors(self) -> Path:
        return self.path / "processors"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def lock_file(self) -> Path:
        return self.path / "run.lock"

    def exists(self) -> bool:
        return self.config.is_file()

    def create(self) -> RunFolder:
        """Makes the folders of a new run; raises CheckpointError if a run is there already."""
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(601, f"'{self.path}' is a file", fix="name a folder")
        if self.exists() or _any(self.checkpoints):
            raise CheckpointError(
                601,
                f"'{self.path}' holds a run already",
                fix="go on with it by --resume, or use another --workdir",
            )
        for folder in (self.path, self.processors, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        return self

    def remove_unused(self, new: Sequence[Path]) -> None:
        """Removes the new folders of a run that did not begin, as far as they are empty."""
        if self.exists():
            return
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()

    def open(self) -> RunFolder:
        """This folder if it is a run; otherwise CheckpointError with the runs near it."""
        if self.exists():
            return self
        parent = self.path.parent
        near = [run.path for folder in (self.path, parent) for run in runs_in(folder)]
        what = "has no config.json" if self.path.is_dir() else "does not exist"
        raise CheckpointError(
            601,
            f"'{self.path}' is not a run: it {what}",
            where=f"runs below '{parent}'",
            fix=nearest(self.path.name, (str(path.relative_to(parent)) for path in near)),
        )

    def lock(self) -> Lock:
        """The lock of a training run, for its process 0; use as `with run.lock():`."""
        return Lock(self.lock_file)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """JSON values, as `mmjax.core.config.to_json` gives them."""
        write_json(self.config, config)

    def read_config(self) -> Any:
        return self._read(self.config)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """What the data gave: label names, vocabulary size, shapes; JSON values."""
        write_json(self.facts, facts)

    def read_facts(self) -> Any:
        """What the data gave, and what the task chose after training."""
        facts = self._read(self.facts)
        for target, chosen in self.read_tuned().items():
            facts["targets"][target] = {**facts["targets"].get(target, {}), **chosen}
        return facts

    def write_tuned(self, target: str, facts: Mapping[str, Any]) -> None:
        """What a task chose on the validation rows: facts of its target, JSON values.

        Those of other targets stay.
        """
        write_json(self.tuned, {**self.read_tuned(), target: facts})

    def read_tuned(self) -> dict[str, dict[str, Any]]:
        """What `write_tuned` wrote, by target; nothing if it was never called."""
        return self._read(self.tuned) if self.tuned.is_file() else {}

    def config_hash(self) -> str:
        """The xxh3-128 of the config's values; spelling and key order do not matter."""
        return json_hash(self.read_config())

    def _read(self, path: Path) -> Any:
        try:
            return read_json(path)
        except FileNotFoundError:
            raise CheckpointError(
                601, f"the run has no {path.name}", where=str(self.path), fix="is it a run?"
            ) from None
        except ValueError as error:
            raise CheckpointError(
                605, f"{path.name} is damaged: {error}", where=str(path), fix="restore the file"
            ) from error


def runs_in(folder: str | Path) -> list[RunFolder]:
    """The runs directly below a folder, by name."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    runs = (RunFolder(path) for path in sorted(folder.iterdir()) if path.is_dir())
    return [run for run in runs if run.exists()]


def json_hash(value: Any) -> str:
    """The xxh3-128 of JSON values in their canonical spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return xxhash.xxh3_128_hexdigest(text.encode())


def _any(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
