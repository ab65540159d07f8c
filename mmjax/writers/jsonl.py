"""metrics.jsonl: one strict JSON object a line, exact over interruptions."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from mmjax.core.errors import DataError, TransientError
from mmjax.core.files import atomic
from mmjax.core.registry import fact
from mmjax.writers.writer import Writer

logger = logging.getLogger(__name__)

_MOST_PENDING = 10_000


@dataclasses.dataclass
class JsonLines(Writer):
    """Appends `{"step": ..., name: value, ...}` to `path`; NaN and infinities become null.

    Without `resume_step` the file is begun anew. With it, lines of later steps and a line torn by a
    crash are dropped first, so that the resumed run writes each step once. Every line has reached
    the operating system when `scalars` returns. When the disk refuses, the lines are kept in memory
    and tried again at the next call, and TransientError is raised each time until it takes them.
    """

    essential: ClassVar[bool] = True

    path: Path = fact()
    resume_step: int | None = fact()
    _file: BinaryIO = dataclasses.field(init=False, repr=False)
    _pending: collections.deque[bytes] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        self._pending = collections.deque(maxlen=_MOST_PENDING)
        try:
            kept = b"" if self.resume_step is None else _until(self.path, self.resume_step)
            with atomic(self.path, "wb") as file:
                file.write(kept)
            self._file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise DataError(
                310,
                f"cannot write metrics: {error.strerror}",
                where=str(self.path),
                fix="choose a folder that can be written to",
            ) from error

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        if "step" in values:
            raise ValueError("'step' is the record's own key, not the name of a value")
        record = {"step": int(step), **{name: _plain(value) for name, value in values.items()}}
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        self._pending.append(text.encode("utf-8", "backslashreplace") + b"\n")
        self._write_pending()

    def close(self) -> None:
        try:
            self._write_pending()
        finally:
            self._file.close()

    def _write_pending(self) -> None:
        try:
            while self._pending:
                self._append(self._pending[0])
                self._pending.popleft()
        except OSError as error:
            raise TransientError(
                710,
                f"{len(self._pending)} lines of metrics are not written: {error.strerror}",
                where=str(self.path),
                fix="free space or restore the disk; they are written as soon as it takes them",
            ) from error

    def _append(self, line: bytes) -> None:
        """Writes the whole line or leaves the file as it was."""
        start = self._file.seek(0, 2)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(start)
            raise


def _plain(value: Any) -> float | int | None:
    if isinstance(value, numbers.Integral):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _lines(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Every whole line with its record; a line that is no record is left out with a warning."""
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        try:
            record = json.loads(line)
            whole = line.endswith(b"\n") and isinstance(record["step"], int)
        except (ValueError, TypeError, KeyError):
            whole = False
        if whole:
            found.append((line, record))
        else:
            logger.warning("%s:%d is no whole record and is left out", path, number)
    return found


def _until(path: Path, step: int) -> bytes:
    if not path.exists():
        return b""
    return b"".join(line for line, record in _lines(path) if record["step"] <= step)


def read_records(path: str | Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, in the order written."""
    return [record for _, record in _lines(Path(path))]
