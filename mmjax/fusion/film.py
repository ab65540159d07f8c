"""Feature-wise linear modulation of each modality by the others."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array, Dtype
from mmjax.fusion.base import assemble, by_name, present, project
from mmjax.nn.dense import dense
from mmjax.nn.pooling import masked_mean


class FiLM(nn.Module, kw_only=True):
    """(1 + gamma) * x + beta, where the other modalities make gamma and beta.

    FiLM (Perez et al. 2018, equation 2; the 1 is their section 7.2): for each modality of `targets`
    (all of them if empty), one dense layer of the concatenated projected `pooled` of the others, 0
    where absent, gives a gamma and a beta for its tokens and its own `pooled`. A row in which all
    the others are absent stays as it is. Each modality's summary is its `pooled` plus the mean of
    its tokens; the fused `pooled` projects the concatenated summaries, in the order of the names.

    Raises ConfigError for a target that is no modality.
    """

    width: int = 256
    targets: tuple[str, ...] = ()
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        for name in self.targets:
            if name not in tokens:
                raise ConfigError(
                    109,
                    f"no modality '{name}' to modulate",
                    where="model.fusion.targets",
                    fix=nearest(name, tokens),
                )
        projected = project(tokens, self.width, **types)
        modulated = dict(projected)
        for name in self.targets or tuple(projected):
            others = [projected[other] for other in by_name(projected) if other != name]
            if not others:
                continue
            seen = jnp.concatenate([one.pooled for one in others], axis=-1)
            generated = dense(
                2 * self.width, ("embed", "joined"), name=f"{name}_modulation", **types
            )(seen)
            some = jnp.stack([present(one) for one in others]).any(axis=0)[:, None]
            gamma, beta = jnp.split(jnp.where(some, generated, 0), 2, axis=-1)
            modulated[name] = _modulate(projected[name], gamma, beta)
        summaries = [
            modulated[name].pooled + masked_mean(modulated[name].values, modulated[name].mask)
            for name in by_name(modulated)
        ]
        pooled = jnp.concatenate(summaries, axis=-1)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        pooled = dense(self.width, ("embed", "joined"), name="out", **types)(pooled)
        return assemble(modulated, pooled)


def _modulate(one: Tokens, gamma: Array, beta: Array) -> Tokens:
    """Padding and absent rows stay 0."""
    values = (1 + gamma[:, None]) * one.values + beta[:, None]
    pooled = (1 + gamma) * one.pooled + beta
    return Tokens(
        jnp.where(one.mask[..., None], values, 0),
        one.mask,
        jnp.where(present(one)[:, None], pooled, 0),
    )
