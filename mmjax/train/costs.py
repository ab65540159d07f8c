"""What a stretch of work took: compiling, time, memory."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
from jax import monitoring

_COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass
class Costs:
    """Filled in while the work goes on; whole once it is done."""

    compile_seconds: float = 0.0
    """Of XLA alone, over all programs; one from the cache takes as long as it is read."""
    programs: int = 0
    """How many there were, those from the cache too."""
    seconds: float = 0.0
    processor_seconds: float = 0.0
    """Of this process, over all its threads."""
    peak_memory: int = 0
    """Bytes that this process has held at most since it began."""
    peak_device_memory: int | None = None
    """Bytes that the fullest device has held at most; None where devices do not say."""

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@contextlib.contextmanager
def measured() -> Iterator[Costs]:
    """Measures what is done within it, in this process."""
    found = Costs()

    def compiled(event: str, duration_secs: float, **_: Any) -> None:
        if event == _COMPILED:
            found.compile_seconds += duration_secs
            found.programs += 1

    monitoring.register_event_duration_secs_listener(compiled)
    wall, processor = time.monotonic(), time.process_time()
    try:
        yield found
    finally:
        monitoring.unregister_event_duration_listener(compiled)
        found.seconds = time.monotonic() - wall
        found.processor_seconds = time.process_time() - processor
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        found.peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        stats = [one.memory_stats() or {} for one in jax.local_devices()]
        peaks = [one["peak_bytes_in_use"] for one in stats if "peak_bytes_in_use" in one]
        found.peak_device_memory = max(peaks, default=None)
