"""What a score is, and what all of them do with numbers of alternatives."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Batch, TaskOutput
from mmjax.core.typing import Array, Float, Int

Scale = Literal["score", "probability"]
"""The score itself, or the probability that it stands for, where there is one."""

Choice = Any
"""What of each row is explained, held while its inputs change: arrays of integers, rows first."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a model made of a batch: the outputs of a task and its predictions, and the whole.

    `batch` is the one that the task was told of, `whole` None where no task was asked.
    """

    task: Any
    outputs: Any
    predictions: Mapping[str, Array]
    batch: Batch
    whole: TaskOutput | None = None


class Score(abc.ABC):
    """A kind of score: which tasks it `fits`, what it chooses, and the number of that."""

    about: ClassVar[str]
    """What is explained, for people."""
    has_probability: ClassVar[bool] = False
    """Whether the scale "probability" is one."""
    row_by_row: ClassVar[bool] = False
    """Whether it is minus the loss of what was chosen, which is asked of each row alone."""

    @abc.abstractmethod
    def fits(self, task: Any) -> bool:
        """Whether it is the score of a task."""

    def names(self, task: Any) -> tuple[str, ...]:
        """What can be asked for by name."""
        return ()

    @abc.abstractmethod
    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        """What the model itself says of each row, or `of` in all of them; traced."""

    @abc.abstractmethod
    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        """The number of what was chosen; traced."""

    @abc.abstractmethod
    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        """What is explained of each row, in words; `answers` are decoded predictions."""

    def says(self, task: Any, choice: Choice) -> str | None:
        """The name of what was chosen of one row, where it has one."""
        return None

    def place(self, task: Any, of: str | int) -> int:
        """The number of a name. Raises ConfigError for one that the task does not have."""
        names = self.names(task)
        if isinstance(of, str) and of in names:
            return names.index(of)
        if isinstance(of, int) and (not names or 0 <= of < len(names)):
            return of
        raise ConfigError(
            109,
            f"nothing called '{of}' to explain",
            where="of",
            fix=nearest(str(of), names) if names else "leave it out: the task has no names",
        )


def named(names: Sequence[str], place: int, kind: str) -> str:
    """A name by its number; without names the kind and the number."""
    return str(names[place]) if 0 <= place < len(names) else f"{kind} {place}"


def of_one(
    logits: Float[Array, "b *s v"],
    places: Int[Array, "b *s"],
    scale: Scale,
    *,
    independent: bool = False,
) -> Float[Array, "b *s"]:
    """The log-odds or the probability of one of several alternatives, or of labels that are
    `independent` of each other, whose logits are their log-odds.
    """
    if independent:
        return taken(jax.nn.sigmoid(logits) if scale == "probability" else logits, places)
    if scale == "probability":
        return taken(jax.nn.softmax(logits), places)
    return log_odds(logits, places)


def log_odds(logits: Float[Array, "b *s v"], places: Int[Array, "b *s"]) -> Float[Array, "b *s"]:
    """The log-odds `log(p / (1 - p))` of one of several alternatives, p its softmax: its logit less
    the logsumexp of the others'. 0 where there is but one.

    They rise and fall with the probability, as a logit alone need not (it may fall while the others
    fall further), and do not saturate as its logarithm does (Shrikumar et al. 2017, section 4.1,
    measure explanations by them).
    """
    logits = jnp.asarray(logits, jnp.float32)
    own = taken(logits, places)
    if logits.shape[-1] == 1:
        return jnp.zeros_like(own)
    others = jnp.where(jax.nn.one_hot(places, logits.shape[-1], dtype=bool), -jnp.inf, logits)
    return own - jax.nn.logsumexp(others, axis=-1)


def taken(values: Float[Array, "b *s v"], places: Int[Array, "b *s"]) -> Float[Array, "b *s"]:
    """The value at one place of the last axis each."""
    return jnp.take_along_axis(values, places[..., None], axis=-1)[..., 0]


def rows_of(choice: Choice) -> np.ndarray:
    """A choice on the host as one array, a line a row."""
    leaves = choice.values() if isinstance(choice, Mapping) else (choice,)
    return np.concatenate([np.asarray(one).reshape(len(one), -1) for one in leaves], axis=1)
