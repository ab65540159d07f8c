"""An encoder whose outputs were made before: in its place, what was kept of them."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Tokens
from mmjax.core.typing import Array, Bool, Float


class Kept(nn.Module, kw_only=True):
    """Tokens from fields that hold them already.

    Without `values` they are zeros `width` wide, which is for models that read `pooled` alone.
    """

    width: int

    def __call__(
        self,
        pooled: Float[Array, "b d"],
        mask: Bool[Array, "b n"],
        values: Float[Array, "b n d"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        if values is None:
            values = jnp.zeros((*mask.shape, self.width), pooled.dtype)
        return Tokens(values, mask, pooled)
