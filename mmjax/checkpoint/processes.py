"""What the processes of a job tell each other about a checkpoint.

A background thread must not start a device collective, for it would interleave with the training
step's; `Exchange` therefore goes through files and the coordinator's barrier. `agree` and `first`
are collectives, for the main thread.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from mmjax.core.files import read_json, write_json

# Counted over the whole process: a barrier's name must never be used twice.
_serial = itertools.count()


class Exchange:
    """Gives every process the JSON values of all; any thread may call it."""

    def __init__(self, folder: Path, timeout_s: float):
        self.folder = folder
        self.timeout_ms = int(timeout_s * 1000)

    def __call__(self, name: str, value: Any) -> list[Any]:
        """All processes' values of `value`, by process; each must call with the same names."""
        if jax.process_count() == 1:
            return [value]
        name = f"{name}-{next(_serial)}"
        paths = [self.folder / f"{name}-{i}.json" for i in range(jax.process_count())]
        write_json(paths[jax.process_index()], value)
        self._barrier(f"{name}-written")
        values = [read_json(path) for path in paths]
        self._barrier(f"{name}-read")
        paths[jax.process_index()].unlink(missing_ok=True)
        return values

    def _barrier(self, name: str) -> None:
        ocp.multihost.get_barrier_sync_fn()(
            key=f"mmjax-{self.folder}-{name}", timeout_ms=self.timeout_ms
        )


def agree(ok: bool) -> bool:
    """Whether all processes say yes."""
    if jax.process_count() == 1:
        return ok
    with jax.transfer_guard("allow"):
        return bool(np.min(multihost_utils.process_allgather(np.asarray(ok, np.int32))))


def first(value: int) -> int:
    """What process 0 says."""
    if jax.process_count() == 1:
        return value
    with jax.transfer_guard("allow"):
        return int(multihost_utils.broadcast_one_to_all(np.asarray(value, np.int32)))


def is_first() -> bool:
    return jax.process_index() == 0
