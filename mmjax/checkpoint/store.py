"""The checkpoints of a run: saved in the background, announced when verified, restored if whole."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from jaxtyping import PyTree

from mmjax.checkpoint import crashes, layout, processes
from mmjax.checkpoint.catalog import Catalog
from mmjax.checkpoint.lock import holder
from mmjax.checkpoint.manifest import Manifest
from mmjax.checkpoint.reading import read_state
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.checkpoint.saving import Saver
from mmjax.core.errors import CheckpointError, ConfigError, MMJaxError

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint held; `state` has the structure of the target."""

    state: Any
    step: int
    data_state: dict[str, Any]
    metrics: dict[str, float]
    extra: dict[str, Any]


class Checkpoints:
    """Saves and restores the state of one run; every process of the job makes one.

    The last `keep_last` steps and the `keep_best` best by `best_metric` are kept, and an older one
    is removed only after the newer one was read back and found equal to the state (`verify=False`
    saves that reading). `config_hash` and `global_batch` are recorded with each step. `readonly` is
    for a process that does not hold the run's lock: it removes, renames and saves nothing.
    `timeout_s` is how long the processes of a job wait for each other.

    The constructor removes what a dead run left half-made, and raises CheckpointError if a live
    one is at work in the folder.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        best_metric: str | None = None,
        best_mode: Literal["max", "min"] = "max",
        asynchronous: bool = True,
        verify: bool = True,
        readonly: bool = False,
        config_hash: str = "",
        global_batch: int | None = None,
        timeout_s: float = 600.0,
    ):
        if keep_last < 1 or keep_best < 0 or best_mode not in ("max", "min"):
            raise ConfigError(
                106,
                f"keep_last = {keep_last}, keep_best = {keep_best}, best_mode = '{best_mode}'",
                fix="expected keep_last >= 1, keep_best >= 0, best_mode max or min",
            )
        self.folder = Path(folder).absolute()
        self.keep_last = keep_last
        self.keep_best = keep_best
        self.asynchronous = asynchronous
        self.readonly = readonly
        self.config_hash = config_hash
        self.global_batch = global_batch
        selection = None if best_metric is None else (best_metric, str(best_mode))
        self._catalog = Catalog(self.folder, selection=selection, readonly=readonly)
        if not readonly:
            self._take_over()
        self._saver = Saver(
            self._catalog, verify=verify, timeout_s=timeout_s, announced=self._collect
        )

    def steps(self) -> list[int]:
        """The steps that can be restored, oldest first."""
        return list(self._catalog.committed())

    def latest(self) -> int | None:
        """The newest step, None before the first save.

        Raises CheckpointError if there are only damaged ones: that is no reason to start over.
        """
        return self._catalog.latest()

    def best(self) -> int | None:
        """The step with the best metric (the earliest of equals), None if none has it."""
        return next(iter(self._catalog.ranked()), None)

    def manifest(self, step: int) -> Manifest:
        """What is recorded of a step: its leaves, files, metrics and versions."""
        found = self._catalog.committed()
        if step not in found:
            raise self._catalog.no_step(step)
        return found[step]

    def save(
        self,
        step: int,
        state: PyTree,
        *,
        data_state: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        extra: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> bool:
        """Saves `state` as it is now; it may be donated as soon as this returns.

        Waits for the save before it, and raises what that one failed of. A step that exists is left
        alone, and False returned, unless `force` replaces it. `data_state` and `extra` are JSON
        values. Raises CheckpointError if the disk has no room or replicas of an array differ.
        """
        self.wait()
        if self.readonly:
            raise CheckpointError(608, f"step {step} was not saved: the checkpoints are readonly")
        if step in self._catalog.committed() and not force:
            return False
        recorded = {
            "data_state": _plain("data_state", data_state),
            "extra": _plain("extra", extra or {}),
            "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            "selection": self._catalog.selection,
            "config_hash": self.config_hash,
            "global_batch": self.global_batch,
            "saved_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self._saver.start(step, state, recorded)
        if not self.asynchronous:
            self.wait()
        return True

    def wait(self) -> None:
        """Returns when the last save is announced; raises CheckpointError if it failed."""
        self._saver.wait()

    def check_errors(self) -> None:
        """Raises the error of a save in the background, once; cheap enough for every step."""
        self._saver.check_errors()

    def close(self) -> None:
        """Waits for the last save and ends the background threads."""
        self._saver.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except MMJaxError as failure:
            if error is None:
                raise
            _log.error("%s", failure)  # the error that is under way says more

    def restore(
        self,
        abstract_state: PyTree,
        *,
        step: int | Literal["latest", "best"] = "latest",
        prefixes: Sequence[str] | None = None,
        spare: Collection[str] = (),
    ) -> Restored:
        """The state of a step, verified, in the structure and on the shardings of the target.

        `abstract_state` has `jax.ShapeDtypeStruct` leaves (or arrays). With `prefixes`, say
        `("params",)`, it holds only what lies at or below them, and the rest is not read; nor are
        the leaves `spare`, which a step may have or not.
        A damaged step is set aside as `<step>.quarantined` and the next older one taken (for
        "best", the next best; for a given step, none).

        Raises CheckpointError if nothing whole is left, if the architecture differs (all missing,
        unexpected and mis-shaped paths at once), or if the mesh does not divide an array.
        """

        def read(folder: Path, manifest: Manifest) -> Any:
            return read_state(folder, manifest, abstract_state, prefixes, spare)

        self.wait()
        state, manifest = self._catalog.first_whole(step, read)
        return Restored(
            state=state,
            step=manifest.step,
            data_state=dict(manifest.data_state),
            metrics=dict(manifest.metrics),
            extra=dict(manifest.extra),
        )

    def quarantine(self, step: int, reason: str) -> None:
        """Sets a step aside, with one error in the log; every process of the job calls it."""
        self.wait()
        self._catalog.set_aside(step, reason)

    def report_crash(self, step: int, reason: str) -> None:
        """Notes that a run crashed after restoring `step` and before its next save.

        Not for signals and user errors. After two, `restore` sets the step aside.
        """
        if processes.is_first() and not self.readonly:
            crashes.note(self.folder, step, reason)

    def _take_over(self) -> None:
        if processes.is_first():
            other = holder(RunFolder(self.folder.parent).lock_file)
            if other is not None and not other.is_this_process():
                raise CheckpointError(
                    602,
                    f"another run writes checkpoints here: {other}",
                    where=str(self.folder),
                    fix="end it, or open the checkpoints with readonly=True",
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            layout.clean(self.folder)
        processes.agree(True)

    def _collect(self, newest: Manifest) -> None:
        """Removes the steps that are neither among the last nor the best."""
        if not processes.is_first():
            return
        crashes.forget(self.folder)
        steps = self.steps()
        best = self._catalog.ranked()[: self.keep_best]
        for step in set(steps) - {newest.step, *steps[-self.keep_last :], *best}:
            try:
                layout.remove(self.folder, step)
            except OSError as error:
                _log.warning("step %d could not be removed: %s", step, error)


def _plain(name: str, value: Any) -> Any:
    """A value as JSON would give it back; raises CheckpointError if it is no plain JSON."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            611, f"{name} is no plain JSON: {error}", fix="numbers, text, lists, mappings"
        ) from error
