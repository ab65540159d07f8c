"""What a method of explaining is."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain.features import Parts
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


@dataclasses.dataclass(frozen=True)
class Found:
    """What a method says of a batch, an entry a row on the host.

    `modalities` [b] each, `parts` [b ...] each, a number a place, `pairs` [b n m] by "text<-image",
    `facts` a mapping of JSON values a row.
    """

    modalities: Mapping[str, Float[np.ndarray, "b"]] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, Float[np.ndarray, "b ..."]] = dataclasses.field(default_factory=dict)
    pairs: Mapping[str, Float[np.ndarray, "b n m"]] = dataclasses.field(default_factory=dict)
    facts: Sequence[Mapping[str, Any]] = ()


class Method(abc.ABC):
    """A frozen dataclass of settings: `method(subject, batch, choice) -> Found`.

    `refuses` says, before anything is compiled, why a model has nothing for the method to look at.
    """

    about: ClassVar[str]
    """What its numbers are, in a sentence for people."""
    asks_others: ClassVar[bool] = False
    """Whether it needs other rows than those that are explained."""
    signed: ClassVar[bool] = True
    """Whether numbers below 0 speak against what is explained."""

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        """Why the method does not fit the model; None if it does."""
        return None

    @abc.abstractmethod
    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        """What is said of each row of a batch on the devices."""

    def over(self, subject: Subject, batches: Sequence[Batch], labelled: bool) -> dict[str, Any]:
        """What is said of all rows together, as JSON values; nothing by default."""
        return {}


class PartMethod(Method):
    """A method that says where: `attribute` is one traced function of variables and batch.

    How much a modality matters is the sum over its places, where these `add_up`.
    """

    add_up: ClassVar[bool] = True
    """Whether sums over places of several modalities can be compared."""

    @abc.abstractmethod
    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        """One number a place of each modality."""

    def parts(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        """`attribute`, compiled; of other variables of the same shapes too."""

        def traced(variables: Any, batch: Batch, choice: Choice) -> Parts:
            found = self.attribute(subject, variables, batch, choice)
            return {name: values.astype(jnp.float32) for name, values in found.items()}

        return subject.compiled(("attribute", self), traced)(variables, batch, choice)

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        found = self.parts(subject, subject.ready, batch, choice)
        parts = {name: np.asarray(values) for name, values in found.items()}
        sums = {name: total(values) for name, values in parts.items()} if self.add_up else {}
        return Found(sums, parts)


def total(values: Array | np.ndarray) -> Float[np.ndarray, "b"]:
    """The sum over a row's places."""
    return np.asarray(values).reshape(len(values), -1).sum(axis=1)
