"""What every pretraining objective shares: what it asks of the encoders, and what it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, ObjectiveOutput, Tokens
from mmjax.core.typing import Array, Bool, Dtype, Float, Int

Fields = Mapping[str, Array]
THING = "thing"
"""The target that says which rows are of one thing."""


@struct.dataclass
class Encoded:
    """One forward of one encoder over a batch, and what was hidden from it, if anything.

    Arrays alone, one row an example: a batch that is encoded in parts is their concatenation.
    """

    tokens: Tokens
    labels: Mapping[str, Array] = struct.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Request:
    """A further forward of a modality's encoder, on other fields than the batch's own."""

    modality: str
    corrupt: Callable[[Fields, Array], tuple[Fields, Fields]] | None = None
    """`(fields, keys) -> (fields, labels)`, with a random key a row; None keeps the fields."""
    momentum: bool = False
    """Whether the averaged encoder makes it; nothing flows back."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What an objective sees of a batch: forwards that were computed once, for all objectives."""

    batch: Batch
    encoded: Mapping[str, Encoded]
    """By modality, and by the name of each further request."""
    embed: Callable[[str], Float[Array, "b e"]]
    """The vectors of unit length of a forward, in the joint space."""
    fuse: Callable[[Mapping[str, Tokens]], Fused]
    """The model's fusion over the tokens of several modalities."""
    modalities: Sequence[str] = ()
    parameters: Callable[[str], Mapping[str, Any]] = lambda _: {}
    """Those of a modality's encoder, for a head that shares some of them."""

    def tokens(self, name: str) -> Tokens:
        return self.encoded[name].tokens

    @property
    def things(self) -> Int[Array, "b"]:
        """A number that rows of one thing share: the target "thing", else each row's own.

        With several captions a picture, each is a row; the picture's column as a target of kind
        "same" makes them pairs with all of its rows.
        """
        return jnp.asarray(self.batch.targets.get(THING, self.batch.row))

    def rows(self, *names: str) -> Bool[Array, "b"]:
        """The rows that count and have all of these modalities."""
        found = jnp.asarray(self.batch.row_mask)
        for name in names:
            found &= self.tokens(name).mask.any(axis=1)
        return found


class Objective(nn.Module, kw_only=True):
    """One term of a pretraining loss, called as `objective(context, train=...)`.

    A subclass says by `batch_coupled` whether the loss of a row depends on the other rows. What
    does cannot be added up over micro-batches: the trainer then encodes in parts and applies the
    objective to the whole batch (GradCache, Gao et al. 2021).
    """

    weight: float = 1.0
    """The share of this term in the loss."""
    schedule: tuple[tuple[float, float], ...] = ()
    """Points (share of the run, factor on the weight), linear between; none is 1 throughout."""
    modality_facts: Mapping[str, Mapping[str, Any]] = dataclasses.field(
        default_factory=dict, metadata={"fact": True}
    )
    """What the data room found out about each modality, such as a text's `vocab_size`."""
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    batch_coupled: ClassVar[bool]
    uses_joint_space: ClassVar[bool] = False
    """Whether it calls `context.embed`."""
    uses_fusion: ClassVar[bool] = False
    """Whether it calls `context.fuse`."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not isinstance(getattr(cls, "batch_coupled", None), bool):
            raise TypeError(f"{cls.__name__} must say whether it is batch_coupled")

    def check(self, encoders: Mapping[str, nn.Module]) -> None:
        """Raises ConfigError for encoders, or facts of the data, that it can do nothing with."""

    def requests(self) -> dict[str, Request]:
        """The further forwards that it needs, by a name of its own ("text/masked_lm")."""
        return {}

    def factor(self, progress: Float[Array, ""]) -> Float[Array, ""]:
        """What the term is multiplied by after this share of the run."""
        if not self.schedule:
            return jnp.asarray(self.weight, jnp.float32)
        at, values = zip(*self.schedule, strict=True)
        return self.weight * jnp.interp(progress, jnp.asarray(at), jnp.asarray(values))

    def loss_of_chance(self, batch_size: int) -> float | None:
        """The loss of a model that tells nothing apart, where a run may be stuck; None if none."""
        return None

    def types(self) -> dict[str, Dtype]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}


def output(
    losses: Float[Array, "..."],
    weights: Float[Array, "..."],
    metrics: Mapping[str, Array] | None = None,
    predictions: Mapping[str, Any] | None = None,
) -> ObjectiveOutput:
    """The weighted mean of `losses`, in float32; 0 where nothing counts.

    `metrics` are sums over what counts; "loss_sum" and "count" are added to them.
    """
    weights = weights.astype(jnp.float32)
    count = weights.sum()
    total = jnp.sum(jnp.where(weights > 0, losses.astype(jnp.float32) * weights, 0.0))
    loss = total / jnp.maximum(count, 1e-9)
    sums = {**(metrics or {}), "loss_sum": jax.lax.stop_gradient(total), "count": count}
    return ObjectiveOutput(loss, count, sums, predictions or {})


def pairs(modalities: Sequence[str]) -> list[tuple[str, str]]:
    """Every pair of modalities, in order."""
    return [(a, b) for i, a in enumerate(modalities) for b in modalities[i + 1 :]]


def require_modalities(names: Sequence[str], known: Sequence[str], where: str) -> None:
    """Raises ConfigError for a name that is no modality of the model."""
    for name in names:
        if name not in known:
            raise ConfigError(109, f"no modality '{name}'", where=where, fix=nearest(name, known))
