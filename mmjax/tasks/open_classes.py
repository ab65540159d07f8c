"""Classes that are known by words: what is in a box, by its likeness to a text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.typing import Array, Dtype, Float
from mmjax.data.subwords import Subwords
from mmjax.nn.dense import dense, embedding, parameter
from mmjax.nn.pooling import masked_mean

_START = 10.0
"""The first multiplier of similarities."""


class OpenClasses(nn.Module, kw_only=True):
    """Logits of texts by their cosine with what is in a box, both in a joint space of `joint`
    dimensions (OWL-ViT, Minderer et al. 2022, section 3.1), times a learned scale, plus a learned
    bias; the logit of "no object" is a dense layer's and comes last.
    """

    joint: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, values: Float[Array, "layers b q d"], texts: Float[Array, "#b v e"]
    ) -> Float[Array, "layers b q v+1"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        boxes = _unit(dense(self.joint, ("embed", "joined"), name="boxes", **types)(values))
        words = _unit(dense(self.joint, ("embed", "joined"), name="texts", **types)(texts))
        scale, bias = (
            parameter(self, name, (), (), init=nn.initializers.constant(value))
            for name, value in (("log_scale", math.log(_START)), ("bias", 0.0))
        )
        words = jnp.broadcast_to(words, (values.shape[1], *words.shape[1:]))
        alike = jnp.einsum("lbqe,bve->lbqv", boxes, words)
        nothing = dense(1, ("embed", None), name="nothing", **types)(values).astype(jnp.float32)
        return jnp.concatenate([jnp.exp(scale) * alike + bias, nothing], axis=-1)


class NameVectors(nn.Module, kw_only=True):
    """A vector for each name: the mean of those of its words' character n-grams, as a
    `bag_of_subwords` has them, whatever the names are; so a name that was never trained has one
    made of its parts.
    """

    width: int
    buckets: int = 2048
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, names: Sequence[str]) -> Float[Array, "v e"]:
        ids, mask = name_ids(names, self.buckets)
        table = embedding(
            self.buckets + 2,
            self.width,
            stddev=0.1,
            name="subwords",
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        return masked_mean(table(ids), jnp.asarray(mask))


def name_ids(names: Sequence[str], buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of each name, int32 [v n], and where there are some."""
    subwords = Subwords([], [], ngrams=(3, 6), buckets=buckets, lower_case=True, max_length=512)
    found = [subwords.encode(name).ids for name in names]
    ids = np.zeros((len(found), max(map(len, found))), np.int32)
    for row, one in zip(ids, found, strict=True):
        row[: len(one)] = one
    return ids, ids > 0


def _unit(values: Float[Array, "*b e"]) -> Float[Array, "*b e"]:
    values = values.astype(jnp.float32)
    length = jnp.sqrt(jnp.sum(values * values, axis=-1, keepdims=True) + 1e-12)
    return values / length
