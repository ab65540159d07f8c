"""Mean and spread of a figure over seeds, as results keep them and as tables tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.metrics import mean_and_spread


def spread(values: Sequence[float]) -> dict[str, Any]:
    """`{"mean", "std", "seeds"}`; the sample standard deviation, None for one seed."""
    mean, deviation = mean_and_spread(values)
    std = deviation if len(values) > 1 else None
    return {"mean": mean, "std": std, "seeds": len(values)}


def told(found: Mapping[str, Any], digits: int = 3) -> str:
    """`mean ± deviation`, the mean alone where there is no deviation."""
    more = "" if found["std"] is None else f" ± {found['std']:.{digits}f}"
    return f"{found['mean']:.{digits}f}{more}"
