"""What each modality adds to a row's score: exact Shapley values."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Bool, Float
from mmjax.explain.base import Found, Method
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject
from mmjax.metrics.shapley import shapley_values, subsets

MOST = 8
"""Modalities whose subsets are all asked."""


@dataclasses.dataclass(frozen=True)
class Shapley(Method):
    """A modality's mean gain over all orders in which modalities may come (Shapley 1953).

    Exact: every subset is asked, the empty one too, the others absent as in a row that lacks them.
    The values of a row add up to its score minus that of nothing.
    """

    about: ClassVar[str] = (
        "what each modality adds to the score: its mean gain over all orders in which modalities "
        "may come; the values add up to the score minus that of a row with nothing in it"
    )

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        count = len(subject.modalities)
        return None if 2 <= count <= MOST else f"of {count} modalities; 2 to {MOST} are asked"

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        names = subject.modalities
        worth: dict[tuple[str, ...], Any] = {}
        for one in subsets(names):
            flags = jnp.array([name in one for name in names])
            worth[one] = subject.call("subset", _of(subject), batch, choice, flags)
        rows = len(worth[names])
        values = [
            shapley_values({one: float(found[row]) for one, found in worth.items()}, names)
            for row in range(rows)
        ]
        facts = [
            {"subsets": {"+".join(one) or "none": float(v[row]) for one, v in worth.items()}}
            for row in range(rows)
        ]
        return Found({n: np.array([v[n] for v in values], np.float64) for n in names}, facts=facts)


def _of(subject: Subject) -> Any:
    """The scores of rows with some of their modalities: one program for all subsets."""

    def scores(
        variables: Any, batch: Batch, choice: Choice, flags: Bool[Array, "modality"]
    ) -> Float[Array, "b"]:
        kept = {
            name: jnp.asarray(batch.present[name]) & flags[index]
            for index, name in enumerate(subject.modalities)
        }
        present = {**batch.present, **kept}
        return subject.scores(variables, dataclasses.replace(batch, present=present), choice)

    return scores
