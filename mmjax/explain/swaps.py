"""What would be said if one modality were that of another row."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array
from mmjax.explain.base import Found, Method
from mmjax.explain.scores import Choice
from mmjax.explain.scores.base import rows_of
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
        same = subject.call("said", self._said(subject), batch)
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
            other = np.stack([(rows_of(one) != rows_of(same)).any(axis=1) for one in said])
            for row in range(rows):
                worst = int(lost[:, row].argmax())
                now = jax.tree.map(lambda leaf, row=row: leaf[row], said[worst])
                facts[row][name] = {
                    "donor": known.ids[worst],
                    "loses": float(lost[worst, row]),
                    "says": subject.score.says(subject.task, now),
                    "changed": float(other[:, row].mean()),
                }
        return Found(found, facts=[{"swaps": one} for one in facts])

    def _said(self, subject: Subject) -> Any:
        """What the model itself says of each row, whatever is explained."""

        def said(variables: Any, batch: Batch) -> Choice:
            return subject.score.choose(subject.look(variables, batch, write=True), None)

        return said

    def _traced(self, subject: Subject) -> Any:
        said = self._said(subject)

        def swapped(variables: Any, batch: Batch, choice: Choice) -> tuple[Array, Choice]:
            return subject.scores(variables, batch, choice), said(variables, batch)

        return swapped


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
