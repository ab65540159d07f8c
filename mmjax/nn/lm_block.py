"""The block of language models: rotary positions, shared key heads, windows, parallel parts.

Whether it is causal is in the mask that it is called with.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from mmjax.core.typing import Array, Bool, Dtype, Float, Int
from mmjax.kernels.attention import attention
from mmjax.nn.attention import Attention
from mmjax.nn.cache import caching, remember
from mmjax.nn.dense import dense
from mmjax.nn.norms import rms_norm
from mmjax.nn.rotary import rotary_angles, rotate
from mmjax.nn.transformer import Block, Mlp

Parallel = Literal["no", "one_norm", "two_norms"]
"""Whether attention and MLP read the same values, under one norm (GPT-J) or one each (NeoX)."""


@struct.dataclass
class Places:
    """Which keys the queries see, and where both are; the same for all layers.

    `distance` is how many places a key lies before a query, None where there are no windows.
    `bias` is added to the logits, `angles` turn queries and keys; where layers have frequencies of
    their own, `positions` times these do. `context` is what cross-attention looks at.
    """

    mask: Bool[Array, "b 1 #n m"]
    distance: Int[Array, "n m"] | None = None
    bias: Float[Array, "#b #k #n m"] | None = None
    angles: Float[Array, "#b n f"] | None = None
    positions: Int[Array, "#b n"] | None = None
    context: Float[Array, "b l c"] | None = None
    context_mask: Bool[Array, "b l"] | None = None


@struct.dataclass
class Layer:
    """What differs between layers: keys that are near enough, a factor on the logits, frequencies.

    A layer of a stack is given one row of each array.
    """

    window: Int[Array, "..."] | None = None
    factor: Float[Array, "..."] | None = None
    frequencies: Float[Array, "... f"] | None = None


class LMAttention(nn.Module, kw_only=True):
    """Self-attention with rotated queries and keys, `kv_heads` of which serve `heads` queries.

    Grouped queries as in Ainslie et al. 2023: query head i takes key head `i // (heads /
    kv_heads)`. `fused` keeps the three projections in one, head by head (BLOOM). With
    `query_key_norm`, queries and keys are normalised within each head (Qwen3). Other settings as in
    `nn.attention.Attention`, whose weights it sows too.
    """

    heads: int
    kv_heads: int | None = None
    head_dim: int | None = None
    use_bias: bool | tuple[str, ...] = True
    scale: float | None = None
    interleaved: bool = False
    rotate_values: bool = False
    fused: bool = False
    query_key_norm: bool = False
    eps: float = 1e-6
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, values: Float[Array, "b n d"], places: Places, layer: Layer | None, *, train: bool
    ) -> Float[Array, "b n d"]:
        width = values.shape[-1]
        head_dim = self.head_dim or width // self.heads
        kv_heads = self.kv_heads or self.heads
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def project(name: str, heads: int) -> Array:
            axes = ("embed", "heads", "head_dim")
            bias = self._has_bias(name)
            return dense((heads, head_dim), axes, use_bias=bias, name=name, **types)(values)

        if self.fused:
            all_three = dense(
                (self.heads, 3, head_dim),
                ("embed", "heads", None, "head_dim"),
                use_bias=self._has_bias("query"),
                name="qkv",
                **types,
            )(values)
            queries, keys, content = (all_three[..., i, :] for i in range(3))
        else:
            queries = project("query", self.heads)
            keys, content = project("key", kv_heads), project("value", kv_heads)
        if self.query_key_norm:
            queries = rms_norm(name="query_norm", eps=self.eps, **types)(queries)
            keys = rms_norm(name="key_norm", eps=self.eps, **types)(keys)
        angles = places.angles
        if layer is not None and layer.frequencies is not None and places.positions is not None:
            angles = rotary_angles(places.positions, layer.frequencies)
        if angles is not None:
            queries = rotate(queries, angles, interleaved=self.interleaved)
            keys = rotate(keys, angles, interleaved=self.interleaved)
            if self.rotate_values:
                content = rotate(content, angles, interleaved=self.interleaved)
        mask, bias = places.mask, places.bias
        if layer is not None and layer.window is not None and places.distance is not None:
            mask = mask & (places.distance < layer.window)
        if caching(self):
            keys, content, mask, bias = remember(self, keys, content, mask, bias)
        if kv_heads != self.heads:
            keys, content = (jnp.repeat(x, self.heads // kv_heads, axis=2) for x in (keys, content))
        if layer is not None and layer.factor is not None:
            queries = queries * layer.factor.astype(queries.dtype)
        use_dropout = train and self.dropout > 0.0
        output, weights = attention(
            queries,
            keys,
            content,
            mask=mask,
            bias=bias,
            scale=self.scale,
            dropout_rate=self.dropout,
            dropout_key=self.make_rng("dropout") if use_dropout else None,
            return_weights=self.is_mutable_collection("intermediates"),
        )
        if weights is not None:
            self.sow("intermediates", "weights", weights)
        axes = ("heads", "head_dim", "embed")
        has_bias = self._has_bias("out")
        return dense(width, axes, contract=(-2, -1), use_bias=has_bias, name="out", **types)(output)

    def _has_bias(self, name: str) -> bool:
        return self.use_bias if isinstance(self.use_bias, bool) else name in self.use_bias


class LMBlock(Block, kw_only=True):
    """`nn.transformer.Block` around `LMAttention`.

    With `input_normed`, what it is called with was normalised just before (ModernBERT's first).
    """

    kv_heads: int | None = None
    interleaved: bool = False
    rotate_values: bool = False
    fused: bool = False
    query_key_norm: bool = False
    parallel: Parallel = "no"
    input_normed: bool = False

    @nn.compact
    def __call__(  # type: ignore[override]
        self,
        values: Float[Array, "b n d"],
        places: Places,
        layer: Layer | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        attend = LMAttention(
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            use_bias=self.use_bias,
            scale=self.attention_scale,
            interleaved=self.interleaved,
            rotate_values=self.rotate_values,
            fused=self.fused,
            query_key_norm=self.query_key_norm,
            eps=self.eps,
            dropout=self.attention_dropout,
            name="attention",
            **self.types(),
        )
        mlp = Mlp(
            hidden=self.mlp_dim,
            activation=self.activation,
            gated=self.gated,
            use_bias=self.mlp_bias,
            dropout=self.mlp_dropout,
            name="mlp",
            **self.types(),
        )
        given = values

        def look(normed: Array) -> Array:
            return attend(normed, places, layer, train=train)

        if self.parallel == "no":
            if self.input_normed:
                values = values + self._branch(look(values), "attention", train)
            else:
                values = self._residual(values, look, "attention", train)
            if self.cross_attention:
                cross = Attention(
                    heads=self.heads,
                    dropout=self.attention_dropout,
                    name="cross_attention",
                    **self.types(),
                )
                values = self._residual(
                    values,
                    lambda x: cross(x, places.context, mask=places.context_mask, train=train),
                    "cross_attention",
                    train,
                )
            values = self._residual(values, lambda x: mlp(x, train=train), "mlp", train)
        else:
            normed = again = self.make_norm("attention_norm")(values)
            if self.parallel == "two_norms":
                again = self.make_norm("mlp_norm")(values)
            values = values + self._branch(look(normed), "attention", train)
            values = values + self._branch(mlp(again, train=train), "mlp", train)
        return self._unless_dropped(values, given, train)
