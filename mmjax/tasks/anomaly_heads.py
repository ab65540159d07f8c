"""Small networks that learn what is normal: for normal rows their outputs are near a mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Bool, Dtype, Float
from mmjax.nn.dense import dense

NORMAL = "normal"
"""The collection of what was seen of normal rows: no parameters, but kept with them."""

_LEAST_DEVIATION = 0.1


class Scaler(nn.Module, kw_only=True):
    """Channels with mean 0 and deviation 1 over the first training batch, and by its numbers later.

    They stay as they are, so that a loss cannot be made small by moving them. A channel that hardly
    moves has at the least a tenth of the deviation of the others.
    """

    @nn.compact
    def __call__(
        self, values: Float[Array, "b n d"], valid: Bool[Array, "b n"], *, train: bool
    ) -> Float[Array, "b n d"]:
        values = values.astype(jnp.float32)
        shape = values.shape[-1:]
        mean = self.variable(NORMAL, "mean", jnp.zeros, shape, jnp.float32)
        deviation = self.variable(NORMAL, "deviation", jnp.ones, shape, jnp.float32)
        started = self.variable(NORMAL, "started", jnp.zeros, (), jnp.float32)
        if train and not self.is_initializing() and self.is_mutable_collection(NORMAL):
            own_mean, own_deviation, count = _moments(jax.lax.stop_gradient(values), valid)
            first = (started.value == 0) & (count > 1)
            mean.value = jnp.where(first, own_mean, mean.value)
            deviation.value = jnp.where(first, own_deviation, deviation.value)
            started.value = jnp.where(first, 1.0, started.value)
        scaled = (values - mean.value) / deviation.value
        return jnp.where(valid[..., None], scaled, 0)


def _moments(
    values: Float[Array, "b n d"], valid: Bool[Array, "b n"]
) -> tuple[Float[Array, "d"], Float[Array, "d"], Float[Array, ""]]:
    weights = valid[..., None].astype(jnp.float32)
    count = weights.sum()
    mean = (values * weights).sum(axis=(0, 1)) / jnp.maximum(count, 1.0)
    squares = (jnp.square(values - mean) * weights).sum(axis=(0, 1))
    variance = squares / jnp.maximum(count, 1.0)
    least = _LEAST_DEVIATION * jnp.sqrt(variance.mean())
    return mean, jnp.maximum(jnp.sqrt(variance), jnp.maximum(least, 1e-6)), count


class Sphere(nn.Module, kw_only=True):
    """The network of Deep SVDD: no bias and no bounded activation, by which it could give the
    centre of its sphere for whatever it is given (Ruff et al. 2018, propositions 2 and 3).
    """

    hidden: int
    width: int
    dtype: Dtype
    param_dtype: Dtype

    @nn.compact
    def __call__(self, values: Float[Array, "b d"]) -> Float[Array, "b e"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype, "use_bias": False}
        if self.hidden:
            values = dense(self.hidden, ("embed", "mlp"), name="hidden", **types)(values)
            values = nn.leaky_relu(values)
        axes = ("mlp" if self.hidden else "embed", "joined")
        return dense(self.width, axes, name="embedding", **types)(values).astype(jnp.float32)


class Autoencoder(nn.Module, kw_only=True):
    """The fused vector through `width` channels, and back to the vector of each modality."""

    hidden: int
    width: int
    dtype: Dtype
    param_dtype: Dtype

    @nn.compact
    def __call__(
        self, fused: Float[Array, "b d"], vectors: Mapping[str, Float[Array, "b _"]]
    ) -> dict[str, Float[Array, "b _"]]:
        """What is made of each of `vectors`, of which only the widths are looked at."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values = fused
        if self.hidden:
            values = nn.gelu(dense(self.hidden, ("embed", "mlp"), name="encode", **types)(values))
        values = dense(self.width, (None, "joined"), name="bottleneck", **types)(values)
        if self.hidden:
            values = nn.gelu(dense(self.hidden, (None, "mlp"), name="decode", **types)(values))
        return {
            name: dense(one.shape[-1], (None, "embed"), name=f"{name}_again", **types)(values)
            for name, one in sorted(vectors.items())
        }


class Predictors(nn.Module, kw_only=True):
    """Each modality's vector from those of the others, by an MLP of its own.

    A modality that a row lacks enters as zeros, and with a number that says so.
    """

    hidden: int
    dtype: Dtype
    param_dtype: Dtype

    @nn.compact
    def __call__(
        self,
        vectors: Mapping[str, Float[Array, "b _"]],
        here: Mapping[str, Bool[Array, "b"]],
    ) -> dict[str, Float[Array, "b _"]]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        names, found = sorted(vectors), {}
        for name in names:
            others = [vectors[other] for other in names if other != name]
            flags = [here[other][:, None].astype(jnp.float32) for other in names if other != name]
            values = jnp.concatenate([*others, *flags], axis=-1)
            if self.hidden:
                place = f"{name}_hidden"
                values = nn.gelu(dense(self.hidden, ("embed", "mlp"), name=place, **types)(values))
            width = vectors[name].shape[-1]
            found[name] = dense(width, (None, "embed"), name=f"{name}_guess", **types)(values)
        return found


class Joint(nn.Module, kw_only=True):
    """Each modality's vector in a joint space, of unit length."""

    hidden: int
    width: int
    dtype: Dtype
    param_dtype: Dtype

    @nn.compact
    def __call__(
        self, vectors: Mapping[str, Float[Array, "b _"]]
    ) -> dict[str, Float[Array, "b e"]]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        found = {}
        for name, values in sorted(vectors.items()):
            if self.hidden:
                place = f"{name}_hidden"
                values = nn.gelu(dense(self.hidden, ("embed", "mlp"), name=place, **types)(values))
            values = dense(self.width, (None, "joined"), name=f"{name}_joint", **types)(values)
            values = values.astype(jnp.float32)
            length = jnp.sqrt(jnp.square(values).sum(axis=-1, keepdims=True) + 1e-12)
            found[name] = values / length
        return found


def require_several(names: Sequence[str]) -> None:
    """Raises ConfigError unless there are modalities to compare."""
    if len(names) < 2:
        raise ConfigError(
            109,
            f"'{', '.join(names)}' has no other modality to disagree with",
            where="task.method",
            fix="two modalities or more, or task.method=reconstruction",
        )
