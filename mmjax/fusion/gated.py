"""Gated multimodal units."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array, Dtype
from mmjax.fusion.base import assemble, by_name, present, project
from mmjax.nn.dense import dense


class Gated(nn.Module, kw_only=True):
    """sum_m z_m * tanh(W_m x_m), the gates z_m being learned from all modalities together.

    The gated multimodal unit (Arevalo et al. 2017, section 3.1): x_m is the encoder's `pooled`, 0
    where the modality is absent, and there is one gate a modality and channel. `gate="sigmoid"` is
    the paper's for any number of modalities, `z_m = sigmoid(W_zm [x_1; ...; x_M])`; `"softmax"`
    divides the same logits among a row's present modalities; `"tied"` is the paper's for exactly
    two, z and 1 - z, of which z is that of the first name. `modality_weights` are the means of the
    gates over the channels.

    Raises ConfigError if `gate="tied"` meets another number of modalities.
    """

    width: int = 256
    gate: Literal["sigmoid", "softmax", "tied"] = "sigmoid"
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        names = by_name(tokens)
        if self.gate == "tied" and len(names) != 2:
            raise ConfigError(
                109,
                f"gate='tied' with the modalities {', '.join(names)}",
                where="model.fusion.gate",
                fix="two modalities, or gate='sigmoid' or 'softmax'",
            )
        projected = project(tokens, self.width, **types)
        here = {name: present(tokens[name])[:, None] for name in names}
        seen = jnp.concatenate(
            [jnp.where(here[name], tokens[name].pooled, 0) for name in names], axis=-1
        )
        logits = jnp.stack(
            [
                dense(self.width, ("embed", "joined"), name=f"{name}_gate", **types)(seen)
                for name in (names[:1] if self.gate == "tied" else names)
            ],
            axis=1,
        ).astype(jnp.float32)
        gates = self._gates(logits, jnp.stack([here[name] for name in names], axis=1))
        hidden = jnp.stack([jnp.tanh(projected[name].pooled) for name in names], axis=1)
        pooled = jnp.sum(gates.astype(hidden.dtype) * hidden, axis=1)
        weights = gates.mean(axis=-1)
        weights = jnp.stack([weights[:, names.index(name)] for name in tokens], axis=1)
        return assemble(projected, pooled, modality_weights=weights, add_pooled=True)

    def _gates(self, logits: Array, here: Array) -> Array:
        """[b modality d] in float32, 0 where absent."""
        if self.gate == "softmax":
            logits = jnp.where(here, logits, jnp.finfo(jnp.float32).min)
            return jnp.where(here, jax.nn.softmax(logits, axis=1), 0.0)
        gates = jax.nn.sigmoid(logits)
        if self.gate == "tied":
            gates = jnp.concatenate([gates, 1.0 - gates], axis=1)
        return jnp.where(here, gates, 0.0)
