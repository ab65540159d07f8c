"""What would be said if one modality were that of another row."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array
from mmjax.explain import score as score_lib
from mmjax.explain.base import Found, Method
from mmjax.explain.score import Choice
from mmjax.explain.subject import Subject


@dataclasses.dataclass(frozen=True)
class Swaps(Method):
    """Counterfactuals: each modality in turn is replaced by that of each of `donors` training rows.

    How much a modality matters is the mean loss of the score over the donors. Of each modality the
    donor is told that costs the score most, what is said then, and in what share of the swaps that
    is something else than before.
    """

    donors: int = 16

    about: ClassVar[str] = (
        "what the score loses on average when a modality is replaced by that of another row"
    )

    asks_others: ClassVar[bool] = True

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        return None if subject.donors is not None else "no other rows are known"

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        assert subject.donors is not None
        known = subject.donors()
        assert known.batch is not None
        count = min(self.donors, int(np.asarray(known.batch.row_mask).sum()))
        before = subject.scored(batch, choice)
        found: dict[str, np.ndarray] = {}
        rows = len(before)
        facts: list[dict[str, Any]] = [{} for _ in range(rows)]
        for name in subject.modalities:
            scores, said = [], []
            for donor in range(count):
                swapped = _with(batch, known.batch, name, donor)
                after, now = subject.call("swapped", self._traced(subject), swapped, choice)
                scores.append(after)
                said.append(now)
            lost = before[None] - np.stack(scores)
            found[name] = lost.mean(axis=0)
            same = np.asarray(jax.tree.leaves(choice)[0]).reshape(rows, -1)
            others = np.stack([np.asarray(one).reshape(rows, -1) for one in said])
            other = (others != same[None]).any(axis=2) if others.shape[2] == same.shape[1] else None
            for row in range(rows):
                worst = int(lost[:, row].argmax())
                facts[row][name] = {
                    "donor": known.ids[worst],
                    "loses": float(lost[worst, row]),
                    "says": self._says(subject, others[worst, row]),
                }
                if other is not None:
                    facts[row][name]["changed"] = float(other[:, row].mean())
        return Found(found, facts=[{"swaps": one} for one in facts])

    def _traced(self, subject: Subject) -> Any:
        def swapped(variables: Any, batch: Batch, choice: Choice) -> tuple[Array, Array]:
            after = subject.scores(variables, batch, choice)
            return after, jax.tree.leaves(subject.choose(variables, batch)[0])[0]

        return swapped

    def _says(self, subject: Subject, places: np.ndarray) -> str | None:
        """The name of what is said now, where it has one."""
        names = score_lib.names_of(subject.module.task)
        kind = subject.module.task.outputs_are
        if kind in ("classes", "labels") and names and places.size == 1:
            return names[int(places[0])]
        return None


def _with(batch: Batch, other: Batch, name: str, donor: int) -> Batch:
    """The batch with one modality in all rows that of a row of another batch.

    Both are padded to one length where theirs differ.
    """
    present = jnp.full_like(batch.present[name], other.present[name][donor])
    fields = {
        field: _like(jnp.asarray(other.inputs[name][field][donor]), jnp.asarray(values))
        for field, values in batch.inputs[name].items()
    }
    return dataclasses.replace(
        batch,
        inputs={**batch.inputs, name: fields},
        present={**batch.present, name: present},
    )


def _like(one: Array, values: Array) -> Array:
    """A row's array in every row of `values`, cut or padded with zeros to their shape."""
    for axis, size in enumerate(values.shape[1:]):
        one = jax.lax.slice_in_dim(one, 0, min(size, one.shape[axis]), axis=axis)
    widths = [(0, size - have) for size, have in zip(values.shape[1:], one.shape, strict=True)]
    return jnp.broadcast_to(jnp.pad(one, widths), values.shape).astype(values.dtype)
