"""Transformer blocks of the attention-level fusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Bool, Float
from mmjax.nn.attention import Attention, KeyMask
from mmjax.nn.dense import parameter
from mmjax.nn.transformer import Block, Mlp


class TanhGatedBlock(Block, kw_only=True):
    """A block that begins as the identity: tanh(gate), from 0, multiplies each branch.

    The gated cross-attention of Flamingo (Alayrac et al. 2022, section 2.2), one gate a branch.
    """

    def _branch(
        self, output: Array, name: str, train: bool, drop_share: Array | None = None
    ) -> Array:
        zeros = nn.initializers.zeros
        gate = parameter(self, f"{name}_gate", (), (), init=zeros, **self.types())
        return jnp.tanh(gate) * super()._branch(output, name, train, drop_share)


class CrossFirstBlock(Block, kw_only=True):
    """Cross-attention to a context in segments, then self-attention, then an MLP.

    As the cross-modality layers of LXMERT (Tan and Bansal 2019), but normalising first; the
    context then has a norm of its own, for it may be the residual stream of another modality.
    """

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | Bool[Array, "#b #k #n n"] | None = None,
        context: Float[Array, "b m c"] | Sequence[Float[Array, "b _ c"]] | None = None,
        context_mask: KeyMask | Sequence[Bool[Array, "b _"]] | None = None,
        bias: Float[Array, "#b #k #n n"] | None = None,
        drop_share: Float[Array, ""] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        attend: dict[str, Any] = {
            "heads": self.heads,
            "head_dim": self.head_dim,
            "use_bias": self.use_bias,
            "scale": self.attention_scale,
            "dropout": self.attention_dropout,
            **self.types(),
        }
        given = values
        if self.cross_attention:
            cross = Attention(**attend, name="cross_attention")
            if self.norm == "pre":
                norm = self.make_norm("context_norm")
                context = jax.tree.map(norm, context)
            values = self._residual(
                values,
                lambda x: cross(x, context, mask=context_mask, train=train),
                "cross_attention",
                train,
                drop_share,
            )
        if self.self_attention:
            own = Attention(**attend, name="attention")
            values = self._residual(
                values,
                lambda x: own(x, mask=mask, bias=self.bias_of(x, bias), train=train),
                "attention",
                train,
                drop_share,
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
        values = self._residual(values, lambda x: mlp(x, train=train), "mlp", train, drop_share)
        return self._unless_dropped(self.end(values, train=train), given, train)
