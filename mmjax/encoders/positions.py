"""Places on the Earth: one, or a trajectory."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import dense
from mmjax.nn.norms import layer_norm
from mmjax.nn.pooling import masked_mean
from mmjax.nn.positions import fourier_features, sinusoids
from mmjax.nn.temporal import without_padding

_EARTH_KM = 6371.0


class Positions(TransformerEncoder, kw_only=True):
    """Multi-scale Fourier features of places on the unit sphere, then an MLP.

    After Space2Vec (Mai et al. 2020) and Sphere2Vec (Mai et al. 2023), with the place as a unit
    vector, so that neither the date line nor a pole is a seam: longitudes of -180 and 180 are the
    same to the last bit. Waves run along `directions` fixed directions, at `scales` wavelengths
    from `finest_km` to the Earth's diameter in equal ratios. `coordinates` has latitude and
    longitude in degrees, and further columns (altitude, time) that are divided by `units`
    and enter as they are and as sinusoids. A trajectory is a token a place; with `depth`, blocks of
    self-attention over them, which know their order. Raises ConfigError for more columns than there
    are units, and for fewer than two.
    """

    hidden: int = 256
    scales: int = 16
    directions: int = 8
    finest_km: float = 1.0
    units: tuple[float, ...] = (1000.0, 86400.0)
    depth: int = 0
    mlp_dim: int = 256
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        coordinates: Float[ArrayLike, "b c"] | Float[ArrayLike, "b n c"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = self.types()
        places = jnp.asarray(coordinates, jnp.float32)
        places = places[:, None] if places.ndim == 2 else places
        extra = places.shape[-1] - 2
        if not 0 <= extra <= len(self.units):
            raise ConfigError(
                109,
                f"coordinates of {places.shape[-1]} columns, with units for {len(self.units)}",
                fix="latitude, longitude and one more column a unit at most",
            )
        mask = jnp.ones(places.shape[:2], bool)
        if attention_mask is not None:
            mask = jnp.asarray(attention_mask, bool).reshape(mask.shape)
        places = without_padding(places, mask)
        sphere = unit_vectors(places[..., 0], places[..., 1])
        features = [sphere, fourier_features(sphere, self._frequencies())]
        if extra:
            more = places[..., 2:] / np.asarray(self.units[:extra], np.float32)
            waves = sinusoids(more, 2 * self.scales)
            features += [more, waves.reshape(*more.shape[:-1], -1)]
        values = jnp.concatenate(features, axis=-1).astype(self.dtype)
        values = dense(self.hidden, ("joined", "mlp"), name="up", **types)(values)
        values = nn.gelu(layer_norm(name="norm", **types)(values))
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        values = dense(self.width, ("mlp", "embed"), name="down", **types)(values)
        if self.depth:
            order = sinusoids(jnp.arange(values.shape[1]), self.width)
            values = self.transformer()(values + order.astype(self.dtype), mask, train=train)
        return Tokens(values, mask, masked_mean(values, mask))

    def _frequencies(self) -> np.ndarray:
        """Cycles an Earth radius: every scale along every direction."""
        waves = np.geomspace(self.finest_km, 2 * _EARTH_KM, self.scales) / _EARTH_KM
        return (spread_directions(self.directions)[:, :, None] / waves).reshape(3, -1)


def unit_vectors(
    latitude: Float[Array, "*b"], longitude: Float[Array, "*b"]
) -> Float[Array, "*b 3"]:
    """Places as unit vectors; degrees in, and any whole turn of the longitude is no turn."""
    wrapped = longitude - 360.0 * jnp.floor((longitude + 180.0) / 360.0)
    phi, lam = latitude * (math.pi / 180), wrapped * (math.pi / 180)
    across = jnp.cos(phi)
    return jnp.stack([across * jnp.cos(lam), across * jnp.sin(lam), jnp.sin(phi)], axis=-1)


def spread_directions(count: int) -> np.ndarray:
    """Unit vectors `[3 count]` spread evenly over a half sphere (a Fibonacci spiral)."""
    height = (np.arange(count) + 0.5) / count
    turn = np.arange(count) * math.pi * (3 - math.sqrt(5))
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height])
