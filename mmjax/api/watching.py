"""A run's curves as it trains, for a terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import rich.columns
import rich.console
import rich.text

from mmjax.api.runs import status_of
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.report.curves import panels
from mmjax.writers.console import printable
from mmjax.writers.plots import plot

_WIDEST = 60


class Followed:
    """The records of a run's metrics so far, read on from where the last look ended."""

    def __init__(self, run: str | os.PathLike):
        self.folder = RunFolder(Path(run)).open()
        self.records: list[dict[str, Any]] = []
        self._read = 0

    @property
    def status(self) -> str:
        """finished, training or stopped."""
        return status_of(self.folder)

    def look(self) -> int:
        """Reads what is new; how many records that is. A line that is not whole yet is left.

        A file that was begun anew is read anew.
        """
        path = self.folder.metrics
        if not path.is_file():
            return 0
        if path.stat().st_size < self._read:
            self.records, self._read = [], 0
        with path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        before = len(self.records)
        for line in whole.splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                # A run that went on from a checkpoint writes its later steps again.
                while self.records and self.records[-1]["step"] > record["step"]:
                    self.records.pop()
                self.records.append(record)
        return max(0, len(self.records) - before)

    def drawn(self, width: int) -> rich.console.RenderableType:
        """The run's state and every panel of curves, side by side as far as they fit."""
        across = max(1, min(3, width // _WIDEST))
        own = min(_WIDEST, width) - 14
        plots = [plot(one.title, one.series, width=own, height=8) for one in panels(self.records)]
        head = rich.text.Text(printable(self.folder.path), style="bold")
        head.append(f"   {self.status}", style="default")
        for part in self._facts():
            head.append(f"   {part}", style="dim")
        if not plots:
            return rich.console.Group(head, rich.text.Text("nothing is measured yet", style="dim"))
        return rich.console.Group(
            head, rich.columns.Columns(plots, width=width // across - 2, padding=(1, 1))
        )

    def _facts(self) -> list[str]:
        if not self.records:
            return []
        found = [f"step {self.records[-1]['step']:,}"]
        for name, form in (("examples_per_second", "{:,.0f} examples/s"), ("input_wait", "")):
            values = [one[name] for one in self.records[-20:] if one.get(name) is not None]
            if values:
                found.append(form.format(values[-1]) if form else f"input wait {values[-1]:.0%}")
        skipped = [one for one in self.records if one.get("train/loss", 0) is None]
        return found + ([f"{len(skipped)} losses not finite"] if skipped else [])
