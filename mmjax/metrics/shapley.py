"""How much each of a few parts adds to a whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from mmjax.core.errors import DataError


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All subsets, from the empty one to the whole, each in the order of the names."""
    sizes = range(len(names) + 1)
    return [one for size in sizes for one in itertools.combinations(names, size)]


def shapley_values(
    scores: Mapping[tuple[str, ...], float], names: Sequence[str]
) -> dict[str, float]:
    """Each part's mean gain over all orders in which the parts may come (Shapley 1953).

    `scores` holds what every subset (`subsets`) is worth, the empty one too. The values are exact
    and add up to the whole's score minus the empty one's. Raises DataError for a subset without a
    score.
    """
    missing = [one for one in subsets(names) if one not in scores]
    if missing:
        raise DataError(
            540, f"no score of the subset {list(missing[0])}", fix="a score for every subset"
        )
    count = len(names)
    found = {}
    for name in names:
        rest = [one for one in names if one != name]
        total = 0.0
        for before in subsets(rest):
            share = math.factorial(len(before)) * math.factorial(count - len(before) - 1)
            with_it = tuple(one for one in names if one in before or one == name)
            total += share * (scores[with_it] - scores[before])
        found[name] = total / math.factorial(count)
    return found
