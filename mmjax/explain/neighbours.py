"""The rows that a model takes for the most alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Float
from mmjax.explain.base import Found, Method
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


def closest(
    vectors: Float[np.ndarray, "b d"], others: Float[np.ndarray, "n d"], top: int
) -> tuple[Float[np.ndarray, "b k"], np.ndarray]:
    """Cosines, falling, and the places of the `top` others of each; of equal ones the lower."""

    def unit(values: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
        return values / np.where(lengths > 0, lengths, 1)

    # In float32, so that vectors of one direction are equal.
    cosines = (unit(vectors) @ unit(others).T).astype(np.float32)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(cosines, order, 1), order


def joined(
    embedded: Mapping[str, Float[np.ndarray, "n _"]], modalities: Iterable[str]
) -> Float[np.ndarray, "n d"]:
    """The fused vectors; of a model that fuses nothing, those of its modalities side by side."""
    if "fused" in embedded:
        return embedded["fused"]
    return np.concatenate([embedded[name] for name in modalities], axis=1)


@dataclasses.dataclass(frozen=True)
class Neighbours(Method):
    """The `top` training rows whose fused vectors point most nearly the same way (cosine)."""

    top: int = 5

    about: ClassVar[str] = "the training rows that are nearest in the fused space, by cosine"

    asks_others: ClassVar[bool] = True

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        return None if subject.donors is not None else "no other rows are known"

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        def embed(variables: Any, batch: Batch) -> Any:
            return subject.module.apply(variables, batch, method=type(subject.module).embed)

        assert subject.donors is not None
        donors = subject.donors()
        own = joined(subject.call("embed", embed, batch), subject.modalities)
        cosines, order = closest(own, donors.vectors, self.top)
        facts = [
            {
                "neighbours": [
                    {"id": donors.ids[j], "answer": donors.answers[j], "cosine": float(c)}
                    for j, c in zip(found, values, strict=True)
                ]
            }
            for found, values in zip(order.tolist(), cosines, strict=True)
        ]
        return Found(facts=facts)
