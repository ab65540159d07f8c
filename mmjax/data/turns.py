"""Whose turn it is: parts that share a sequence by weight, by arithmetic on the index alone."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Int

_MOST = 10**6
"""Weights are shares of at most so many, so that products with indices stay in 64 bits."""


@dataclasses.dataclass(frozen=True)
class Turns:
    """Part i has `shares[i]` of every `sum(shares)` turns, spread evenly.

    The first part has turn p where floor((p + 1) w) > floor(p w), w its weight (a Beatty sequence);
    the turns that are left are shared by the other parts in the same way. So any part has had,
    before any turn, its exact share up to less than the number of parts.
    """

    shares: tuple[int, ...]

    @classmethod
    def of(cls, weights: Sequence[float]) -> Turns:
        """Shares in proportion to weights: exact where they have a common denominator of up to a
        million, and to the millionth otherwise. Raises ConfigError unless all are above 0."""
        if not weights or not all(0 < weight < math.inf for weight in weights):
            raise ConfigError(
                106,
                f"weights = {tuple(weights)} are out of range",
                where="mixture",
                fix="give each source a weight above 0",
            )
        # Through text, since 0.7 is meant and not the nearest binary fraction.
        exact = [Fraction(str(weight)) for weight in weights]
        exact = [weight / sum(exact) for weight in exact]
        common = math.lcm(*(weight.denominator for weight in exact))
        if common > _MOST:
            common = _MOST
        shares = [max(1, round(weight * common)) for weight in exact]
        return cls(tuple(share // math.gcd(*shares) for share in shares))

    def at(self, turns: Int[np.ndarray, "n"]) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
        """The part of each turn, and how many turns that part had before."""
        part = np.full(len(turns), len(self.shares) - 1)
        before = np.zeros(len(turns), np.int64)
        left, turns, total = np.arange(len(turns)), np.asarray(turns, np.int64), sum(self.shares)
        for i, share in enumerate(self.shares):
            had = turns * share // total
            mine = (turns + 1) * share // total > had
            part[left[mine]], before[left[mine]] = i, had[mine]
            left, turns, total = left[~mine], (turns - had)[~mine], total - share
        return part, before

    def had(self, part: int, turn: int) -> int:
        """How many turns a part has before `turn`."""
        total = sum(self.shares)
        for share in self.shares[:part]:
            turn, total = turn - turn * share // total, total - share
        return turn * self.shares[part] // total

    def until(self, part: int, count: int) -> int:
        """The first turn before which a part had `count`."""
        most = (count + len(self.shares)) * sum(self.shares) // self.shares[part] + 1
        return bisect.bisect_left(range(most), count, key=lambda turn: self.had(part, turn))
