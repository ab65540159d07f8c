"""Cross-attention between the modalities."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Dtype
from mmjax.fusion.base import assemble, by_name, present, project
from mmjax.nn.dense import dense
from mmjax.nn.pooling import masked_mean
from mmjax.nn.transformer import Activation, Transformer


class CrossAttention(nn.Module, kw_only=True):
    """Each querying modality attends to the tokens of all the others, `depth` times.

    `queries` names the modalities that query; all of them if empty. A block is cross-attention and
    an MLP, both with a pre-norm residual (the cross-attention layers of ViLBERT, Lu et al. 2019,
    and LXMERT, Tan and Bansal 2019, normalise after). Each modality's own summary is its projected
    `pooled` plus the mean of its attended tokens; `pooled` projects the concatenated summaries, in
    the order of the modalities' names.
    """

    width: int = 256
    heads: int = 4
    depth: int = 1
    mlp_dim: int = 512
    queries: tuple[str, ...] = ()
    activation: Activation = "gelu"
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for name in self.queries:
            if name not in tokens:
                raise ConfigError(
                    109,
                    f"no modality '{name}' to query",
                    where="model.fusion.queries",
                    fix=nearest(name, tokens),
                )
        projected = project(tokens, self.width, **types)
        attended = dict(projected)
        for name in self.queries or tuple(projected):
            others = [one for other, one in projected.items() if other != name]
            if not others:
                continue
            own = projected[name]
            values = Transformer(
                depth=self.depth,
                heads=self.heads,
                mlp_dim=self.mlp_dim,
                activation=self.activation,
                dropout=self.dropout,
                self_attention=False,
                cross_attention=True,
                name=name,
                **types,
            )(
                own.values,
                own.mask,
                jnp.concatenate([one.values for one in others], axis=1),
                jnp.concatenate([one.mask for one in others], axis=1),
                train=train,
            )
            attended[name] = dataclasses.replace(
                own, values=jnp.where(own.mask[..., None], values, 0)
            )
        summaries = [
            jnp.where(present(one)[:, None], one.pooled + masked_mean(one.values, one.mask), 0)
            for one in map(attended.__getitem__, by_name(attended))
        ]
        pooled = jnp.concatenate(summaries, axis=-1)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        pooled = dense(self.width, ("embed", "joined"), name="out", **types)(pooled)
        return assemble(attended, pooled)
