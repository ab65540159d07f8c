"""Two encoders with a joint space."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import fact
from mmjax.core.types import Embeddings, Tokens
from mmjax.core.typing import Array, ArrayLike, Dtype, Float
from mmjax.encoders import EncoderSpec, registry
from mmjax.encoders.fields import taken
from mmjax.nn.dense import dense, parameter
from mmjax.nn.stack import Remat


class DualTower(nn.Module, kw_only=True):
    """Encoders whose `pooled` meet in one space, as in CLIP, SigLIP and VisionTextDualEncoder.

    `towers` names them ("vision", "text"); embeddings and tokens come under the same names. With a
    `projection_dim`, each `pooled` is projected to it without bias. Every tower takes the fields
    that it has parameters of the same name for, and is left out where its own are not given, so
    texts can be embedded without pictures. `logit_scale` and `logit_bias` are the first values of
    the logarithm of the temperature's inverse and of the bias (None: there is none). `scan` and
    `remat`, where given, are those of every tower that has such a setting.

    Raises ConfigError for a field that no tower takes, or none that is given all it needs.
    """

    towers: Mapping[str, EncoderSpec]
    projection_dim: int | None = None
    logit_scale: float = math.log(1 / 0.07)
    logit_bias: float | None = None
    scan: bool | None = None
    remat: Remat | None = None
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def setup(self) -> None:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        given = {"scan": self.scan, "remat": self.remat}
        for name, spec in self.towers.items():
            known = registry.settings(spec.name)
            own = {key: value for key, value in given.items() if key in known and value is not None}
            setattr(self, name, registry.build(spec, facts=types, **own))

    @nn.compact
    def __call__(self, *, train: bool, **fields: ArrayLike | None) -> Embeddings:
        given = {name: field for name, field in fields.items() if field is not None}
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values: dict[str, Array] = {}
        tokens: dict[str, Tokens] = {}
        for name, mine in self._fields(given).items():
            tokens[name] = getattr(self, name)(**mine, train=train)
            joined = tokens[name].pooled
            if self.projection_dim is not None:
                joined = dense(
                    self.projection_dim,
                    ("embed", "joined"),
                    use_bias=False,
                    name=f"{name}_projection",
                    **types,
                )(joined)
            values[name] = unit_length(joined)
        bias = None if self.logit_bias is None else self._scalar("logit_bias", self.logit_bias)
        scale = jnp.exp(self._scalar("logit_scale", self.logit_scale))
        return Embeddings(values, scale, bias, tokens)

    def _scalar(self, name: str, first: float) -> Float[Array, ""]:
        init = nn.initializers.constant(first)
        types = {"dtype": jnp.float32, "param_dtype": self.param_dtype}
        return parameter(self, name, (), (), init=init, **types)

    def _fields(self, given: Mapping[str, ArrayLike]) -> dict[str, dict[str, ArrayLike]]:
        """The fields of each tower that has all it needs."""
        calls = {name: registry.load(spec.name).__call__ for name, spec in self.towers.items()}
        wanted = {name: taken(call) for name, call in calls.items()}
        known = {field for fields in wanted.values() for field in fields}
        for field in given:
            if field not in known:
                raise ConfigError(109, f"no tower takes '{field}'", fix=nearest(field, known))
        found = {
            name: {field: given[field] for field in fields if field in given}
            for name, fields in wanted.items()
            if all(field in given for field, needed in fields.items() if needed)
        }
        if not found:
            needs = [
                field for fields in wanted.values() for field, needed in fields.items() if needed
            ]
            raise ConfigError(
                109, f"the fields {sorted(given)} are enough for no tower", fix=nearest("", needs)
            )
        return found


def unit_length(values: Float[Array, "b e"]) -> Float[Array, "b e"]:
    """Each row divided by its Euclidean length, in float32; a row of zeros stays so."""
    wide = values.astype(jnp.float32)
    square = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(square, 1e-24))).astype(values.dtype)
