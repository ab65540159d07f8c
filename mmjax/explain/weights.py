"""The weights that a fusion gave the modalities."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain import probes
from mmjax.explain.base import Found, Method
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


@dataclasses.dataclass(frozen=True)
class Weights(Method):
    """The coefficients that the fusion, or the combination of decisions, applied to each modality:
    learned weights and gates, 0 for what is absent.
    """

    about: ClassVar[str] = "the learned weight, or gate, that the fusion gave each modality"

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        found = jax.eval_shape(lambda v: _weights(subject, v, batch), subject.ready)
        return "its fusion gives the modalities no weights" if found is None else None

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        def traced(variables: Any, batch: Batch) -> Any:
            return _weights(subject, variables, batch)

        found = subject.call("weights", traced, batch)
        return Found({name: found[:, index] for index, name in enumerate(subject.modalities)})


def _weights(subject: Subject, variables: Any, batch: Batch) -> Float[Array, "b modality"] | None:
    inside = probes.run(subject, variables, batch, lambda module: None)
    whole = inside.seen.whole
    if whole is not None and "modality_weights" in whole.predictions:
        return whole.predictions["modality_weights"]
    fused = inside.fused
    if fused is None or fused.modality_weights is None:
        return None
    return fused.modality_weights
