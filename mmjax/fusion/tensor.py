"""The tensor fusion network's outer product."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Dtype
from mmjax.fusion.base import assemble, by_name, present, project
from mmjax.nn.dense import dense


class Tensor(nn.Module, kw_only=True):
    """The outer product of all [z_m; 1], projected to `width`.

    TFN (Zadeh et al. 2017, section 4.2): its entries are all products of up to one channel from
    each modality, each modality alone included. z_m is the modality in `tensor_width` channels, 0
    where it is absent. The outer product has (tensor_width + 1)^M entries; more than `limit` are
    refused, with the largest valid `tensor_width`, in a ConfigError.
    """

    width: int = 256
    tensor_width: int = 16
    limit: int = 100_000
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        _refuse_too_many(self.tensor_width, len(tokens), self.limit)
        projected = project(tokens, self.width, **types)
        product = jnp.ones((next(iter(projected.values())).pooled.shape[0], 1), self.dtype)
        for name in by_name(projected):
            one = projected[name]
            narrow = dense(self.tensor_width, ("embed", "joined"), name=f"{name}_narrow", **types)(
                one.pooled
            )
            narrow = jnp.where(present(one)[:, None], narrow, 0)
            with_one = jnp.pad(narrow, ((0, 0), (0, 1)), constant_values=1)
            product = jnp.einsum("bi,bj->bij", product, with_one)
            product = product.reshape(product.shape[0], -1)
        product = nn.Dropout(self.dropout, deterministic=not train)(product)
        pooled = dense(self.width, ("embed", "joined"), name="out", **types)(product)
        return assemble(projected, pooled, add_pooled=True)


def _refuse_too_many(width: int, modalities: int, limit: int) -> None:
    entries = (width + 1) ** modalities
    if entries <= limit:
        return
    largest = width
    while largest and (largest + 1) ** modalities > limit:
        largest -= 1
    fix = f"tensor_width={largest}" if largest else "the fusion 'low_rank'"
    raise ConfigError(
        109,
        f"tensor_width={width} for {modalities} modalities makes {entries} products, over the "
        f"limit of {limit}",
        where="model.fusion.tensor_width",
        fix=f"{fix}, or limit={entries}",
    )
