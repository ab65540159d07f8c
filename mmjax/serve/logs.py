"""Lines of JSON on standard error: never more than a rate, and never waiting for a reader."""

from __future__ import annotations

import datetime
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import IO, Any

from mmjax.writers.console import write_now

_MOST = 400
"""Characters of a field, so that a line is written in one piece; a traceback has its last 1800."""


class Lines:
    """Writes what fits; what does not is counted, and the next line says how many there were.

    A bucket of `burst` lines fills at `rate` a second; errors and changes of state have another, so
    that requests cannot crowd them out.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int = 100,
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        dropped: Callable[[], Any] = lambda: None,
    ):
        self._stream = stream
        self._clock = clock
        self._buckets = {False: _Bucket(rate, burst, clock()), True: _Bucket(5.0, burst, clock())}
        self._told = dropped
        self._dropped = 0

    def write(self, event: str, *, urgent: bool = False, **fields: Any) -> None:
        """One event with its fields, JSON values."""
        if not self._buckets[urgent].take(self._clock()):
            self._drop()
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "event": event, **{k: _short(k, v) for k, v in fields.items()}}
        if self._dropped:
            line["dropped_lines"] = self._dropped
        if write_now(self._stream or sys.stderr, json.dumps(line)):
            self._dropped = 0
        else:
            self._drop()

    def _drop(self) -> None:
        self._dropped += 1
        self._told()


class _Bucket:
    def __init__(self, rate: float, burst: int, now: float):
        self._rate, self._burst, self._left, self._last = rate, burst, float(burst), now

    def take(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._last) * self._rate)
        self._last = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Handler(logging.Handler):
    """Sends what libraries log the same way, a traceback within its line."""

    def __init__(self, lines: Lines):
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"level": record.levelname, "logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = _traceback(record)
        self._lines.write("log", urgent=True, message=record.getMessage(), **fields)


def _traceback(record: logging.LogRecord) -> str:
    assert record.exc_info is not None
    return logging.Formatter().formatException(record.exc_info)


def _short(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value[-1800:] if name == "exception" else value[:_MOST]
