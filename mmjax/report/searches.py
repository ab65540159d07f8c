"""What a report shows of retrieval: how good each way is, and some queries with what they found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Way:
    """One modality asking for another."""

    name: str
    """Such as "text → image"."""
    queries: int
    answers: int
    """How many were looked through."""
    metrics: Mapping[str, float]
    """`recall@<k>` and `median_rank` among others."""
    intervals: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """95 % intervals by metric."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """A row's modality as a person sees it."""

    row: int
    text: str = ""
    image: np.ndarray | None = None
    """uint8 [h w], [h w 3] or [h w 4]."""


@dataclasses.dataclass(frozen=True)
class Hit:
    """One of the rows that a query found."""

    seen: Seen
    similarity: float
    right: bool


@dataclasses.dataclass(frozen=True)
class Query:
    """A query, what it found, best first, and the rank of what it should have found."""

    way: str
    seen: Seen
    found: Sequence[Hit]
    rank: int
