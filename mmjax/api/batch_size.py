"""The largest batch that fits, by the compiler's own figures: nothing is run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from mmjax.api.cross_validation import prepared
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.data.dataset import Dataset
from mmjax.parallel.distributed import initialize
from mmjax.parallel.sharding import batch_sharding
from mmjax.train.ahead import StepMemory
from mmjax.train.config import Config
from mmjax.train.example import example_shapes
from mmjax.train.trainer import Trainer
from mmjax.train.warm_start import with_encoders

log = logging.getLogger(__name__)

_SHARE = 0.9
"""Of a device's memory that a step may take: what the allocator breaks up is lost."""

Told = Callable[[int, int], None]
"""Called with a batch size, and the bytes of its step on one device."""


@dataclasses.dataclass(frozen=True)
class BatchSizes:
    """The bytes of the sizes that were compiled, and the largest that fits."""

    limit: int
    """Bytes that a step may take."""
    bytes: dict[int, int]
    best: int | None
    """None where not even the smallest fits."""
    most: bool
    """Whether the search ended at its end, so that a larger one may fit."""


def memory_of_step(config: Config, dataset: Dataset) -> StepMemory:
    """What one training step takes on a device, as the compiler plans it."""
    trainer = Trainer.build(config, dataset)
    sharding = batch_sharding(trainer.mesh)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        example_shapes(trainer.dataset, config.data.batch_size),
    )
    found = trainer.step.lower(trainer.state, batch).compile().memory_analysis()
    if found is None:
        raise ConfigError(
            116, "this device's compiler tells no memory", where=jax.default_backend(), fix="none"
        )
    return StepMemory.of(found)


def device_memory() -> int:
    """The bytes of the device with least memory, or, on a CPU, those of the machine."""
    limits = [(one.memory_stats() or {}).get("bytes_limit") for one in jax.local_devices()]
    known = [limit for limit in limits if limit]
    if known:
        return min(known)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (total,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            106, "the memory of this device is not known", fix="say it: --memory 16GB"
        ) from error
    return total // len(jax.local_devices())


def largest(
    bytes_of: Callable[[int], int], limit: int, *, start: int, smallest: int, most: int
) -> tuple[dict[int, int], int | None, bool]:
    """The largest multiple of `smallest`, up to `most`, whose bytes are within the limit.

    To an eighth of it. The search begins at `start`, and goes by the line through the two sizes
    nearest to the limit, since bytes grow nearly evenly with the size. Returns what was asked, the
    size (None if `smallest` is too large), and whether the search ended at `most`.
    """
    asked: dict[int, int] = {}
    most = most // smallest * smallest
    low, high = 0, most + smallest
    size = min(max(start // smallest * smallest, smallest), most)
    while True:
        asked[size] = bytes_of(size)
        low, high = (size, high) if asked[size] <= limit else (low, size)
        if low == most or high == smallest or high - low <= max(smallest, low // 8):
            break
        size = _next(asked, limit, low, high, smallest)
    return asked, low or None, low == most


def _next(asked: dict[int, int], limit: int, low: int, high: int, smallest: int) -> int:
    """A size between a fitting and a too large one, where the limit should be."""
    if not low:
        return max(high // 2 // smallest * smallest, smallest)
    near = sorted(asked, key=lambda size: abs(asked[size] - limit))[:2]
    guess = 2 * low
    if len(near) == 2 and asked[near[0]] != asked[near[1]]:
        slope = (asked[near[0]] - asked[near[1]]) / (near[0] - near[1])
        if slope > 0:
            guess = int(near[0] + (limit - asked[near[0]]) / slope)
    guess = min(max(guess, low + max(smallest, low // 8)), 8 * low)
    inside = range(low + smallest, high, smallest)
    return inside[min(max((guess - inside[0]) // smallest, 0), len(inside) - 1)]


def find_batch_size(
    config: Config,
    *,
    memory: int | None = None,
    most: int = 4096,
    frame: Any = None,
    told: Told | None = None,
) -> BatchSizes:
    """The largest `data.batch_size` whose step fits into `memory` bytes of each device.

    By default nine tenths of what the device has. Each size is compiled, none is run, so the
    hardware's own limit is known before anything fails. The smallest size is one row a device and
    micro-batch, and all are multiples of it; the first that is tried is the config's own. Raises
    ConfigError where the compiler tells no memory.
    """
    initialize()
    config = with_encoders(config_lib.check(config))
    dataset = prepared(config, frame)
    if memory is not None and memory < 1:
        raise ConfigError(106, f"memory = {memory}", fix="bytes above 0")
    limit = int(_SHARE * device_memory()) if memory is None else memory

    def bytes_of(size: int) -> int:
        data = dataclasses.replace(config.data, batch_size=size)
        total = memory_of_step(dataclasses.replace(config, data=data), dataset).total
        if told is not None:
            told(size, total)
        return total

    smallest = len(jax.devices()) * config.train.gradient_accumulation_steps
    start = config.data.batch_size
    most = max(most, smallest)
    asked, best, end = largest(bytes_of, limit, start=start, smallest=smallest, most=most)
    return BatchSizes(limit, dict(sorted(asked.items())), best, end)
