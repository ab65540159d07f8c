"""Hashing of many integers at once."""

from __future__ import annotations

import numpy as np

from mmjax.core.typing import Shaped


def mixed(values: Shaped[np.ndarray, "n"]) -> Shaped[np.ndarray, "n"]:
    """A bijection of 64-bit integers whose every bit depends on every bit.

    SplitMix64's finaliser (Steele, Lea and Flood 2014).
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
