"""Learned biases of attention by binned distance, as in T5."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.typing import Array, Dtype, Float
from mmjax.nn.cache import advance, caching
from mmjax.nn.dense import parameter


def relative_buckets(
    distances: np.ndarray, *, buckets: int, longest: int, both_ways: bool
) -> np.ndarray:
    """The bin of each distance "key less query" (Raffel et al. 2020, section 2.1).

    Half of the bins hold one distance each; the others grow by a constant factor up to `longest`,
    beyond which all share the last. With `both_ways` keys behind the query have bins of their own,
    otherwise they are in the first. Agrees with transformers' `_relative_position_bucket`.
    """
    first = np.zeros_like(distances)
    if both_ways:
        buckets //= 2
        first = np.where(distances > 0, buckets, 0)
        far = np.abs(distances)
    else:
        far = np.maximum(-distances, 0)
    exact = buckets // 2
    steps = np.log(np.maximum(far, 1) / exact) / math.log(longest / exact) * (buckets - exact)
    grown = exact + steps.astype(distances.dtype)
    return first + np.where(far < exact, far, np.minimum(grown, buckets - 1))


class RelativeBias(nn.Module, kw_only=True):
    """A bias for each head and bin of distance, to be added to the logits of self-attention."""

    heads: int
    buckets: int = 32
    longest: int = 128
    both_ways: bool = True
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, length: int, slots: int | None = None) -> Float[Array, "1 k n m"]:
        """Of `length` tokens to each other; where a cache is kept, to its `slots`."""
        table = parameter(
            self,
            "table",
            (self.buckets, self.heads),
            (None, "heads"),
            init=nn.initializers.normal(0.02),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        if caching(self) and slots is not None:
            first = advance(self, length)
            line = relative_buckets(
                np.arange(1 - slots, slots),
                buckets=self.buckets,
                longest=self.longest,
                both_ways=self.both_ways,
            )
            apart = jnp.arange(slots) - (first + jnp.arange(length))[:, None]
            return jnp.moveaxis(table[jnp.asarray(line)[apart + slots - 1]], -1, 0)[None]
        places = np.arange(length)
        bins = relative_buckets(
            places[None, :] - places[:, None],
            buckets=self.buckets,
            longest=self.longest,
            both_ways=self.both_ways,
        )
        return jnp.moveaxis(table[bins], -1, 0)[None]
