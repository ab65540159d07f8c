"""Attention pooling: learned queries read what an encoder made."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import Spec, fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float
from mmjax.encoders import EncoderSpec, registry
from mmjax.nn.attention import Attention
from mmjax.nn.dense import parameter
from mmjax.nn.norms import layer_norm


class AttentionPooled(nn.Module, kw_only=True):
    """CoCa's task-specific pooling (Yu et al. 2022, section 3.2) of the encoder `encode_with`.

    `queries` learned queries of `width` make its tokens, one more makes `pooled`: of those tokens
    (`"cascade"`, the paper's choice) or of the encoder's own (`"parallel"`). Each is one layer of
    attention with `heads`; queries, what they look at and what they make are normalised, as in
    OpenCLIP's `AttentionalPooler`.
    """

    encode_with: EncoderSpec = Spec("vit")
    queries: int = 256
    width: int = 512
    heads: int = 8
    pooled_from: Literal["cascade", "parallel"] = "cascade"
    eps: float = 1e-5
    image_size: int | None = fact()
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def setup(self) -> None:
        facts = {"image_size": self.image_size, **self._types()}
        self.encoder = registry.build(self.encode_with, facts=facts)

    @nn.compact
    def __call__(self, pixel_values: Float[ArrayLike, "b h w c"], *, train: bool) -> Tokens:
        tokens = self.encoder(pixel_values, train=train)
        values = self._read("tokens", self.queries, tokens.values, tokens.mask, train=train)
        mask = jnp.broadcast_to(tokens.mask.any(axis=1, keepdims=True), values.shape[:2])
        if self.pooled_from == "cascade":
            pooled = self._read("pooled", 1, values, mask, train=train)
        else:
            pooled = self._read("pooled", 1, tokens.values, tokens.mask, train=train)
        return Tokens(values, mask, pooled[:, 0])

    def _read(
        self,
        name: str,
        count: int,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b n"],
        *,
        train: bool,
    ) -> Float[Array, "b _ w"]:
        """`count` vectors that learned queries made of the tokens."""
        types = self._types()
        init = nn.initializers.normal(0.02)
        shape, axes = (count, self.width), ("tokens", "embed")
        queries = parameter(self, f"{name}_queries", shape, axes, init=init, **types)
        queries = layer_norm(name=f"{name}_query_norm", eps=self.eps, **types)(queries)
        seen = layer_norm(name=f"{name}_key_norm", eps=self.eps, **types)(values)
        found = Attention(heads=self.heads, name=f"{name}_attention", **types)(
            jnp.broadcast_to(queries, (len(values), *queries.shape)), seen, mask=mask, train=train
        )
        return layer_norm(name=f"{name}_norm", eps=self.eps, **types)(found)

    def _types(self) -> dict[str, Dtype]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}
