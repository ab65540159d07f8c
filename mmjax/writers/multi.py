"""Several writers as one, none of which can stop or delay training."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjax.core.errors import MMJaxError
from mmjax.core.registry import Spec
from mmjax.writers.config import writers
from mmjax.writers.writer import Writer

logger = logging.getLogger(__name__)


class MultiWriter(Writer):
    """Passes every record on to each of `writers`.

    Essential writers are called in line. Their failures are logged, the first of each, and training
    goes on; what is still unwritten at `close` is raised then. The others run in a thread each,
    behind a queue of `capacity` records: an exception or a full queue drops the record, which is
    logged once and counted in `dropped`. `close` waits `patience` seconds for them.
    """

    def __init__(
        self, writers: Iterable[Writer] = (), *, capacity: int = 1000, patience: float = 10.0
    ):
        self._essential = []
        self._detached = []
        for writer in writers:
            if writer.essential:
                self._essential.append(writer)
            else:
                self._detached.append(_Detached(writer, capacity))
        self._patience = patience
        self._failed: set[str] = set()

    @property
    def dropped(self) -> dict[str, int]:
        """Records that each tracker lost, by the name of its class."""
        return {writer.name: writer.dropped for writer in self._detached}

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for writer in self._essential:
            try:
                writer.scalars(step, values)
            except MMJaxError as error:
                name = type(writer).__name__
                if name not in self._failed:
                    self._failed.add(name)
                    logger.error("%s", error)
        for detached in self._detached:
            detached.scalars(step, values)

    def close(self) -> None:
        failures = []
        for writer in self._essential:
            try:
                writer.close()
            except MMJaxError as error:
                failures.append(error)
        deadline = time.monotonic() + self._patience
        for detached in self._detached:
            detached.finish(deadline)
        if failures:
            raise failures[0]


class _Detached:
    """A writer in a thread of its own, behind a bounded queue."""

    def __init__(self, writer: Writer, capacity: int):
        self.name = type(writer).__name__
        self._writer = writer
        self._queue: queue.Queue[tuple[int, dict[str, float]] | None] = queue.Queue(capacity)
        self._refused = 0
        self._failed = 0
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        return self._refused + self._failed

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        try:
            self._queue.put_nowait((step, dict(values)))
        except queue.Full:
            self._report("it does not keep up")
            self._refused += 1

    def finish(self, deadline: float) -> None:
        """Closes the writer after what is queued; leaves it behind at `deadline`."""
        try:
            self._queue.put(None, timeout=max(0.0, deadline - time.monotonic()))
            self._thread.join(max(0.0, deadline - time.monotonic()))
        except queue.Full:
            pass
        if self._thread.is_alive():
            logger.warning("%s hangs; %d records are lost", self.name, self._queue.qsize())
        elif self.dropped:
            logger.warning("%s lost %d records", self.name, self.dropped)

    def _work(self) -> None:
        while (record := self._queue.get()) is not None:
            try:
                self._writer.scalars(*record)
            except Exception as error:
                self._report(error)
                self._failed += 1
        try:
            self._writer.close()
        except Exception as error:
            self._report(error)

    def _report(self, reason: object) -> None:
        if not self.dropped:
            logger.warning("%s drops records, training goes on: %s", self.name, reason)


def build_writers(
    specs: Sequence[Spec | str],
    folder: str | Path,
    resume_step: int | None = None,
    *,
    config: Mapping[str, Any] | None = None,
) -> MultiWriter:
    """The registered writers named by `specs`, writing to the run `folder`.

    `config` is the run's config as JSON, for trackers that show it. Give no specs on any process
    but the first. Raises ConfigError for an unknown name or setting, MissingExtra (an ImportError)
    for an extra that is not installed, DataError if metrics.jsonl cannot be opened.
    """
    folder = Path(folder)
    facts = {
        "folder": folder,
        "path": folder / "metrics.jsonl",
        "resume_step": resume_step,
        "config": config,
    }
    return MultiWriter([writers.build(spec, facts=facts) for spec in specs])
