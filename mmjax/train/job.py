"""The processes of a job: who they are, and which of them holds the others up."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mmjax.parallel.distributed import joined
from mmjax.writers.console import table

log = logging.getLogger(__name__)

_NAME_BYTES = 64
_SHOWN = 16
"""Processes that the table lists at most."""
_TIMES_MEDIAN = 3.0
_OF_STEP = 0.2
"""A process holds the others up at so many times the median and so much of a step more."""


def hosts() -> list[str]:
    """The host of each process, on all of them; a collective."""
    name = socket.gethostname().encode()[:_NAME_BYTES]
    if jax.process_count() == 1:
        return [name.decode(errors="replace")]
    padded = np.frombuffer(name.ljust(_NAME_BYTES, b"\0"), np.uint8)
    with jax.transfer_guard("allow"):
        told = np.asarray(multihost_utils.process_allgather(padded))
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in told]


def tell(mesh: Mesh, batch_size: int) -> None:
    """Prints the job as one table on process 0, where there are several processes.

    Of each: host, devices, and its rows of every global batch.
    """
    count = jax.process_count()
    if count == 1:
        return
    names = hosts()
    if jax.process_index():
        return
    found = joined()
    devices = list(mesh.devices.flat)
    rows = batch_size // count
    cells = [
        [
            process,
            name,
            ", ".join(str(one.id) for one in devices if one.process_index == process),
            f"{process * rows}-{(process + 1) * rows - 1}",
        ]
        for process, name in enumerate(names[:_SHOWN])
    ]
    if count > _SHOWN:
        cells.append(["...", f"and {count - _SHOWN} more", "", ""])
    shape = " ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    # Above the table, whose title would be broken to its width.
    sys.stderr.write(
        f"{count} processes on {len(set(names))} hosts ({found.told_by if found else 'joined'}), "
        f"{len(devices)} {devices[0].platform} devices\nmesh {shape}, global batch {batch_size}\n"
    )
    table(cells, ["process", "host", "devices", "rows of a batch"], file=sys.stderr)


class Pace:
    """How long this host works at a step by itself: input, hooks, everything but waiting.

    Where processes step together, the slow one's time shows in all of them, as waiting for the
    devices; what `waiting` encloses is therefore left out.
    """

    def __init__(self) -> None:
        self._hosts: list[str] = []
        self._slow: set[int] = set()
        self._restart()

    def _restart(self) -> None:
        self._began, self._waited, self._steps = time.perf_counter(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self, does: bool = True) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            if does:
                self._waited += time.perf_counter() - began

    def step(self) -> None:
        self._steps += 1

    def own(self) -> tuple[float, float]:
        """Seconds a step since the last call: this host's own, and all."""
        whole = time.perf_counter() - self._began
        steps = max(self._steps, 1)
        found = max(whole - self._waited, 0.0) / steps, whole / steps
        self._restart()
        return found

    def compare(self, own: Sequence[float], whole: float) -> None:
        """Warns, once, of each process that holds the others up; all processes call it."""
        if not self._hosts:
            self._hosts = hosts()
        slow = stragglers(own, whole)
        for process in sorted(slow - self._slow):
            log.warning(
                "process %d on %s holds the others up: its host works %.3g s at a step, "
                "that of the median process %.3g s, of %.3g s in all",
                process,
                self._hosts[process],
                own[process],
                float(np.median(own)),
                whole,
            )
        self._slow = slow
        self._restart()


def stragglers(own: Sequence[float], whole: float) -> set[int]:
    """The processes whose host works far longer at a step than the others'.

    `own` are seconds by process, `whole` those of a step.
    """
    found = set()
    for process, seconds in enumerate(own):
        others = (
            float(np.median([*own[:process], *own[process + 1 :]])) if len(own) > 1 else seconds
        )
        if seconds > _TIMES_MEDIAN * others and seconds - others > _OF_STEP * whole:
            found.add(process)
    return found
