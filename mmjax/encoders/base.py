"""The settings that encoders made of transformer blocks have in common."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.typing import Dtype
from mmjax.nn.dense import Activation
from mmjax.nn.stack import Remat
from mmjax.nn.transformer import Norm, Transformer


class TransformerEncoder(nn.Module, kw_only=True):
    """Size, rates and precision of an encoder; `transformer` makes its blocks.

    The fields are those of `nn.transformer.BlockSettings`. `scan` compiles one block for all,
    `remat` trades memory for time in training.
    """

    width: int = 128
    depth: int = 2
    heads: int = 4
    mlp_dim: int = 512
    norm: Norm = "pre"
    activation: Activation = "gelu"
    use_bias: bool | tuple[str, ...] = True
    eps: float = 1e-6
    dropout: float = 0.1
    attention_dropout: float = 0.1
    drop_path: float = 0.0
    scan: bool = False
    remat: Remat = "none"
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def types(self) -> dict[str, Dtype]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def block_settings(self) -> dict[str, Any]:
        """What each block is told."""
        return {
            "heads": self.heads,
            "mlp_dim": self.mlp_dim,
            "norm": self.norm,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "eps": self.eps,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "drop_path": self.drop_path,
            **self.types(),
        }

    def transformer(self, *, name: str = "transformer", **settings: Any) -> nn.Module:
        """The blocks, to be called in a compact method; `settings` are further ones of theirs."""
        given = {
            **self.block_settings(),
            "depth": self.depth,
            "scan": self.scan,
            "remat": self.remat,
        }
        return Transformer(**{**given, **settings}, name=name)
