"""The sigmoid loss of a batch of pairs."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float
from mmjax.objectives.contrastive import PairedObjective
from mmjax.objectives.pairwise import chunk_of


def siglip_loss(
    a: Float[Array, "b e"],
    b: Float[Array, "b e"],
    logit_scale: Float[Array, ""] | float,
    logit_bias: Float[Array, ""] | float,
    *,
    mask: Bool[Array, "b"] | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """-sum_ij log sigmoid(z_ij (scale a_i . b_j + bias)) / b, z = 1 for pairs and -1 otherwise.

    Zhai et al. 2023, algorithm 1: the sum over all pairs divided by the rows. Embeddings are taken
    as they are given, `logit_scale` is the multiplier itself. Rows where `mask` is False count
    nowhere. With `chunk`, no more than `chunk` columns of the similarities exist
    at a time, in the backward pass too. In float32. Equals OpenCLIP's `SigLipLoss`.
    """
    size = a.shape[0]
    valid = jnp.ones(size, bool) if mask is None else mask
    chunk = chunk_of(chunk, size)
    scale = jnp.asarray(logit_scale, jnp.float32)

    @jax.checkpoint
    def block(total: Array, part: tuple[Array, Array, Array]):
        columns, here, index = part
        logits = scale * jnp.einsum("be,ce->bc", a, columns, preferred_element_type=jnp.float32)
        signs = jnp.where(jnp.arange(size)[:, None] == index[None, :], 1.0, -1.0)
        losses = -jax.nn.log_sigmoid(signs * (logits + logit_bias))
        return total + jnp.sum(jnp.where(valid[:, None] & here[None, :], losses, 0.0)), None

    index = jnp.arange(size)
    zero = jnp.zeros((), jnp.float32)
    if chunk == size:
        total, _ = block(zero, (b, valid, index))
    else:
        parts = tuple(x.reshape(-1, chunk, *x.shape[1:]) for x in (b, valid, index))
        total, _ = jax.lax.scan(block, zero, parts)
    return total / jnp.maximum(valid.sum(), 1)


class SigLIP(PairedObjective, kw_only=True):
    """The sigmoid loss of pairs of modalities: `siglip_loss` of their vectors in the joint space.

    Its bias starts low, so that the many negatives weigh little at first.
    """

    temperature: float = 0.1
    first_bias: float | None = -10.0

    batch_coupled: ClassVar[bool] = True

    def loss_of_chance(self, batch_size: int) -> float:
        """With the best bias, by which each pair is one with probability 1 / b."""
        others = batch_size - 1
        return math.log(batch_size) + others * math.log(batch_size / max(others, 1))

    def loss(
        self, a: Array, b: Array, scale: Array, bias: Array | None, rows: Array
    ) -> Float[Array, ""]:
        offset = 0.0 if bias is None else bias
        return siglip_loss(a, b, scale, offset, mask=rows, chunk=self.chunk)
