"""A set of points in space, as radar and lidar measure them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import dense
from mmjax.nn.norms import layer_norm
from mmjax.nn.points import farthest_points, gather_points, nearest_points
from mmjax.nn.pooling import masked_max, max_over
from mmjax.nn.temporal import whole_mask, without_padding


class PointSet(TransformerEncoder, kw_only=True):
    """PointNet (Qi et al. 2017), or with `tokens` one layer of PointNet++ (Qi et al. 2017).

    The first `axes` columns of a point are its place, in units of `scale` (metres, say); the others
    what was measured there (intensity, speed). One MLP, with layer norm for batch norm, is shared
    by all points: each is a token. With `tokens`, that many points far apart are chosen, the MLP
    sees the `neighbours` of each, relative to it, and their maximum is the token. Then `depth`
    blocks of self-attention. `pooled` is the maximum of each channel. No order of the points
    matters. Raises ConfigError for points with fewer than `axes` columns.
    """

    channels: tuple[int, ...] = (64, 128)
    axes: int = 3
    scale: float = 1.0
    tokens: int | None = None
    neighbours: int = 16
    depth: int = 0
    mlp_dim: int = 256
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        points: Float[ArrayLike, "b p c"],
        attention_mask: Bool[ArrayLike, "b p"] | Int[ArrayLike, "b p"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        if points.shape[-1] < self.axes:
            raise ConfigError(
                109,
                f"points of {points.shape[-1]} columns have no axes={self.axes}",
                fix=f"axes={points.shape[-1]}",
            )
        mask = whole_mask(attention_mask, jnp.asarray(points))
        clean = without_padding(jnp.asarray(points, jnp.float32), mask)
        places, measured = clean[..., : self.axes] / self.scale, clean[..., self.axes :]
        if self.tokens is None:
            values = self._shared(jnp.concatenate([places, measured], axis=-1))
        else:
            values, mask = self._groups(places, measured, mask)
        if self.depth:
            values = self.transformer()(values, mask, train=train)
        pooled = masked_max(values, mask)
        return Tokens(values, mask, nn.Dropout(self.dropout, deterministic=not train)(pooled))

    def _groups(self, places: Array, measured: Array, mask: Array) -> tuple[Array, Array]:
        fixed = jax.lax.stop_gradient(places)
        index, chosen = farthest_points(fixed, mask, self.tokens or 1)
        centres = gather_points(places, index)
        near, there = nearest_points(fixed, mask, jax.lax.stop_gradient(centres), self.neighbours)
        beside = gather_points(places, near) - centres[:, :, None]
        values = self._shared(jnp.concatenate([beside, gather_points(measured, near)], axis=-1))
        lowest = jnp.finfo(values.dtype).min
        values = max_over(jnp.where(there[..., None], values, lowest), axis=2)
        place = dense(self.width, ("features", "embed"), name="place", **self.types())(
            centres.astype(self.dtype)
        )
        return without_padding(values, chosen) + place, chosen

    def _shared(self, values: Array) -> Array:
        types = self.types()
        values = values.astype(self.dtype)
        for index, channels in enumerate(self.channels):
            name = f"shared_{index}"
            values = dense(channels, ("joined", "embed"), name=name, **types)(values)
            values = nn.relu(layer_norm(name=f"{name}_norm", **types)(values))
        return dense(self.width, ("joined", "embed"), name="tokens", **types)(values)
