"""The checkpoints that are there, in the order in which they should be tried."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mmjax.checkpoint import crashes, layout, processes
from mmjax.checkpoint.manifest import DamagedError, Manifest
from mmjax.core.errors import CheckpointError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Catalog:
    """The steps of one folder. `selection` is (metric, max or min); a reader renames nothing."""

    def __init__(self, folder: Path, *, selection: tuple[str, str] | None, readonly: bool):
        self.folder = folder
        self.selection = selection
        self.readonly = readonly
        self._manifests: dict[int, Manifest] = {}

    def committed(self) -> dict[int, Manifest]:
        """The manifest of every step that has a valid one, oldest first."""
        there = layout.step_folders(self.folder)
        for step in there:
            if step not in self._manifests:
                try:
                    self._manifests[step] = Manifest.read(self.folder / str(step))
                except DamagedError:
                    continue
        return {step: self._manifests[step] for step in sorted(there) if step in self._manifests}

    def announce(self, manifest: Manifest) -> None:
        self._manifests[manifest.step] = manifest

    def latest(self) -> int | None:
        """The newest step, or None; raises CheckpointError if there are only damaged ones."""
        found = self.committed()
        if not found and (layout.step_folders(self.folder) or layout.quarantined(self.folder)):
            raise self.nothing_left()
        return max(found, default=None)

    def ranked(self) -> list[int]:
        """The steps that have the metric, best first, the earliest of equals first.

        Without a selection of its own, a reader takes the one that the newest step records.
        """
        found = self.committed()
        selection = self.selection
        if selection is None and self.readonly and found:
            selection = found[max(found)].selection
        if selection is None:
            return []
        metric, mode = selection
        sign = -1 if mode == "max" else 1
        scores = {step: sign * m.metrics.get(metric, math.nan) for step, m in found.items()}
        ranked = [step for step, score in scores.items() if not math.isnan(score)]
        return sorted(ranked, key=lambda step: (scores[step], step))

    def first_whole(
        self, step: int | str, read: Callable[[Path, Manifest], T]
    ) -> tuple[T, Manifest]:
        """What `read` makes of the first candidate in which it finds no damage.

        A damaged one is set aside with one error in the log. Raises CheckpointError if none is
        left.
        """
        tried: set[int] = set()
        while True:
            candidates = [one for one in self._candidates(step) if one not in tried]
            candidate = processes.first(candidates[0] if candidates else -1)
            if candidate < 0:
                raise self.no_step(step) if isinstance(step, int) else self.nothing_left()
            tried.add(candidate)
            folder = self.folder / str(candidate)
            reason: str | None = None
            try:
                if step == "latest" and not self.readonly:
                    crashes.require_few(self.folder, candidate)
                manifest = Manifest.read(folder)
                result = read(folder, manifest)
            except DamagedError as damage:
                reason = str(damage)
            if processes.agree(reason is None):
                return result, manifest
            self.set_aside(candidate, reason or "another process found it damaged")

    def set_aside(self, step: int, reason: str) -> None:
        """Renames a step to `<step>.quarantined`; a reader only passes over it."""
        self._manifests.pop(step, None)
        if processes.is_first():
            where = self.folder / str(step)
            if self.readonly or not where.exists():
                _log.error("checkpoint %s is passed over: %s", where, reason)
            else:
                name = layout.quarantine(self.folder, step).name
                _log.error("checkpoint %s is set aside as %s: %s", where, name, reason)
        processes.agree(True)

    def _candidates(self, step: int | str) -> list[int]:
        there = layout.step_folders(self.folder)
        if isinstance(step, int):
            return [one for one in there if one == step]
        if step == "latest":
            return there
        if step == "best":
            ranked = self.ranked()
            return ranked + [one for one in there if one not in ranked]
        raise CheckpointError(603, f"no step '{step}'", fix="expected a number, latest or best")

    def no_step(self, step: int | str) -> CheckpointError:
        return CheckpointError(
            603,
            f"no whole checkpoint of step {step}",
            where=str(self.folder),
            fix=f"steps that are whole: {', '.join(map(str, self.committed())) or 'none'}",
        )

    def nothing_left(self) -> CheckpointError:
        aside = layout.quarantined(self.folder)
        if not aside and not layout.step_folders(self.folder):
            return CheckpointError(
                603, "there is no checkpoint yet", where=str(self.folder), fix="train first"
            )
        return CheckpointError(
            605,
            f"every checkpoint is damaged (set aside: {', '.join(aside) or 'none'})",
            where=str(self.folder),
            fix="restore the folder from a copy, or train anew in another --workdir",
        )
