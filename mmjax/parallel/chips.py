"""What accelerators can do at most: the roofs that a step's time is estimated by.

Of the makers' pages (docs.cloud.google.com/tpu/docs/v4, v5e, v5p-training, v6e; read in November
2026). Nothing here is measured.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device, as JAX counts them."""

    name: str
    flops: float
    """Of bfloat16 matrix products, a second."""
    memory: int
    """Bytes."""
    bandwidth: float
    """Bytes a second between memory and the chip."""
    links: int
    """Ports to neighbouring chips, two for each dimension of the torus."""
    link: float
    """Bytes a second of one port, in one direction."""
    network: float
    """Bytes a second to other slices, in one direction."""

    @property
    def ring(self) -> float:
        """Bytes a second that leave a chip of a ring along one dimension of the torus."""
        return 2 * self.link


GIB = 2**30
CHIPS = {
    "v4": Chip("TPU v4", 275e12, 32 * GIB, 1.228e12, 6, 50e9, 6.25e9 / 4),
    "v5e": Chip("TPU v5e", 197e12, 16 * GIB, 819e9, 4, 50e9, 25e9 / 8),
    "v5p": Chip("TPU v5p", 459e12, 95 * GIB, 2.765e12, 6, 100e9, 6.25e9),
    "v6e": Chip("TPU v6e", 918e12, 32 * GIB, 1.638e12, 4, 100e9, 12.5e9),
}
"""By the first part of a topology's name, those of one device a chip."""


def seconds_on_wire(kind: str, group: int, size: float, rate: float) -> float:
    """How long a ring of `group` devices takes for a collective whose result has `size` bytes.

    Each device sends at `rate`. An all-gather or all-to-all sends (n - 1) / n of what results, a
    reduce-scatter (n - 1) times, an all-reduce is both (Thakur et al. 2005, section 4); a
    permutation sends all of it once.
    """
    n = max(group, 1)
    if kind == "collective-permute":
        return size / rate
    share = {
        "all-reduce": 2 * (n - 1) / n,
        "reduce-scatter": n - 1,
    }.get(kind, (n - 1) / n)
    return share * size / rate
