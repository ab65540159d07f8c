"""The transformer block and its stack."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Bool, Dtype, Float
from mmjax.nn.attention import Attention
from mmjax.nn.dense import ACTIVATIONS, dense
from mmjax.nn.norms import layer_norm
from mmjax.nn.stack import Remat, Stack

Norm = Literal["pre", "post"]
Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]


class Mlp(nn.Module, kw_only=True):
    """Dense, activation, dense, back to the input's width."""

    hidden: int
    activation: Activation = "gelu"
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "*b d"], *, train: bool) -> Float[Array, "*b d"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        hidden = dense(self.hidden, ("embed", "mlp"), name="up", **types)(values)
        hidden = ACTIVATIONS[self.activation](hidden)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return dense(values.shape[-1], ("mlp", "embed"), name="down", **types)(hidden)


class Block(nn.Module, kw_only=True):
    """Self-attention, optional cross-attention, MLP, each with a residual and a norm.

    `norm="pre"` normalises the input of each part (ViT, GPT-2), `"post"` the sum after it (BERT).
    """

    heads: int
    mlp_dim: int
    norm: Norm = "pre"
    activation: Activation = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    eps: float = 1e-6
    self_attention: bool = True
    cross_attention: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None = None,
        context: Float[Array, "b m c"] | None = None,
        context_mask: Bool[Array, "b m"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def residual(values: Array, part, name: str) -> Array:
            norm = layer_norm(name=f"{name}_norm", eps=self.eps, **types)
            inputs = norm(values) if self.norm == "pre" else values
            output = nn.Dropout(self.dropout, deterministic=not train)(part(inputs))
            return values + output if self.norm == "pre" else norm(values + output)

        attend = {"heads": self.heads, "dropout": self.attention_dropout, **types}
        if self.self_attention:
            own = Attention(**attend, name="attention")
            values = residual(values, lambda x: own(x, mask=mask, train=train), "attention")
        if self.cross_attention:
            cross = Attention(**attend, name="cross_attention")
            values = residual(
                values,
                lambda x: cross(x, context, mask=context_mask, train=train),
                "cross_attention",
            )
        mlp = Mlp(hidden=self.mlp_dim, activation=self.activation, **types, name="mlp")
        return residual(values, lambda x: mlp(x, train=train), "mlp")


class Transformer(nn.Module, kw_only=True):
    """A stack of blocks, with a final norm when the blocks normalise first."""

    depth: int
    heads: int
    mlp_dim: int
    norm: Norm = "pre"
    activation: Activation = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    eps: float = 1e-6
    self_attention: bool = True
    cross_attention: bool = False
    scan: bool = False
    remat: Remat = "none"
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None = None,
        context: Float[Array, "b m c"] | None = None,
        context_mask: Bool[Array, "b m"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        settings = {
            "heads": self.heads,
            "mlp_dim": self.mlp_dim,
            "norm": self.norm,
            "activation": self.activation,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "eps": self.eps,
            "self_attention": self.self_attention,
            "cross_attention": self.cross_attention,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        stack = Stack(
            block=Block,
            settings=settings,
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            name="stack",
        )
        values = stack(values, mask, context, context_mask, train=train)
        if self.norm == "pre":
            types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
            values = layer_norm(name="norm", eps=self.eps, **types)(values)
        return values
