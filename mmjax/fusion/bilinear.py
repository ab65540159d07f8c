"""Bilinear pooling without the bilinear form's size: factorised, or by count sketches."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array, Dtype, Float, Int
from mmjax.fusion.base import assemble, by_name, present, project
from mmjax.nn.dense import dense


class Bilinear(nn.Module, kw_only=True):
    """Products of the modalities' channels, then a signed square root and unit length.

    `kind="mfb"`: the product over m of U_m x_m, in `factor` channels for each of the result's,
    summed over them (multi-modal factorised bilinear pooling, Yu et al. 2017, equations 3 to 5).
    `kind="mcb"`: the outer product of all x_m as a count sketch of `sketch` entries, which is the
    circular convolution of the modalities' sketches, and a projection of it to `width`
    (multimodal compact bilinear pooling, Fukui et al. 2016, algorithm 1); the hashes are fixed by
    `seed` and the modality's name. With more than two modalities the product is of all, a row's
    absent ones are left out of it. The root is sqrt(|x| + eps) - sqrt(eps) with the sign of x, so
    that its slope at 0 is finite. So that a channel has the size of other fusions', `mfb` is
    multiplied by sqrt(width), and the projection of `mcb` starts from weights of variance 1.
    """

    width: int = 256
    kind: Literal["mfb", "mcb"] = "mfb"
    factor: int = 5
    sketch: int = 4096
    seed: int = 0
    eps: float = 1e-6
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        projected = project(tokens, self.width, **types)
        if self.kind == "mfb":
            pooled = self.width**0.5 * self._normalised(self._factorised(projected, train))
            return assemble(projected, pooled, add_pooled=True)
        sketched = compact_bilinear(projected, self.sketch, self.seed)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(self._normalised(sketched))
        pooled = dense(
            self.width,
            ("embed", "joined"),
            init=nn.initializers.normal(1.0),
            name="out",
            **types,
        )(pooled)
        return assemble(projected, pooled, add_pooled=True)

    def _factorised(self, projected: Mapping[str, Tokens], train: bool) -> Float[Array, "b d"]:
        product = jnp.ones((), self.dtype)
        for name in by_name(projected):
            one = projected[name]
            factors = dense(
                (self.width, self.factor),
                ("embed", "joined", "joined"),
                use_bias=False,
                name=f"{name}_factors",
                dtype=self.dtype,
                param_dtype=self.param_dtype,
            )(one.pooled)
            product = product * jnp.where(present(one)[:, None, None], factors, 1)
        product = nn.Dropout(self.dropout, deterministic=not train)(product)
        return product.sum(axis=-1)

    def _normalised(self, x: Float[Array, "b n"]) -> Float[Array, "b n"]:
        """Signed square root and unit length, in float32."""
        x = x.astype(jnp.float32)
        rooted = x / (jnp.sqrt(jnp.abs(x) + self.eps) + self.eps**0.5)
        length = jnp.sqrt(jnp.sum(jnp.square(rooted), axis=-1, keepdims=True) + self.eps)
        return (rooted / length).astype(self.dtype)


def compact_bilinear(
    tokens: Mapping[str, Tokens], sketch: int, seed: int
) -> Float[Array, "b sketch"]:
    """The count sketch of the outer product of every present modality's `pooled`, in float32.

    Entry (i, j, ...) of the outer product is added, with the product of the signs, at the sum of
    the places modulo `sketch`. A row without any modality gets the sketch of 1.
    """
    spectrum = jnp.ones((), jnp.complex64)
    for name in by_name(tokens):
        one = tokens[name]
        places, signs = hashes(name, one.pooled.shape[-1], sketch, seed)
        signed = one.pooled.astype(jnp.float32) * signs
        counts = jax.ops.segment_sum(signed.T, places, num_segments=sketch).T
        spectrum = spectrum * jnp.where(present(one)[:, None], jnp.fft.rfft(counts), 1)
    return jnp.fft.irfft(spectrum, n=sketch)


def hashes(
    name: str, width: int, sketch: int, seed: int
) -> tuple[Int[np.ndarray, "d"], Float[np.ndarray, "d"]]:
    """The place in [0, sketch) and the sign of each of a modality's channels.

    They are part of what a trained model computes, so they come from a generator's raw bits: those
    stay the same from one NumPy to the next, its distributions may not.
    """
    bits = np.random.Philox(key=[seed, zlib.crc32(name.encode())]).random_raw(width)
    places = (bits >> np.uint64(1)) % np.uint64(sketch)
    signs = 1.0 - 2.0 * (bits & np.uint64(1)).astype(np.float32)
    return places.astype(np.int32), signs.astype(np.float32)
