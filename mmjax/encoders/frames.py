"""An encoder of pictures over the frames of a video."""

from __future__ import annotations

from typing import Literal

import einops
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import Spec, fact
from mmjax.core.types import Tokens
from mmjax.core.typing import ArrayLike, Bool, Float
from mmjax.encoders import EncoderSpec, registry
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import dense
from mmjax.nn.pooling import masked_mean
from mmjax.nn.positions import sinusoids
from mmjax.nn.temporal import whole_mask, without_padding


class Frames(TransformerEncoder, kw_only=True):
    """Every frame through the encoder `image`, its `pooled` a token (CLIP4Clip, Luo et al. 2022).

    `temporal="mean"` is their mean pooling; `"transformer"` adds sinusoidal positions and `depth`
    blocks (their sequential transformer, whose positions are learned). Tokens have `width`,
    which the image encoder's is projected to where it differs. Masked frames enter as zeros.
    """

    image: EncoderSpec = Spec("image_cnn")
    temporal: Literal["mean", "transformer"] = "mean"
    image_size: int | None = fact()

    def setup(self) -> None:
        facts = {"image_size": self.image_size, **self.types()}
        self.image_encoder = registry.build(self.image, facts=facts)

    @nn.compact
    def __call__(
        self,
        pixel_values: Float[ArrayLike, "b t h w c"],
        frame_mask: Bool[ArrayLike, "b t"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        pixels = jnp.asarray(pixel_values)
        mask = whole_mask(frame_mask, pixels)
        flat = einops.rearrange(without_padding(pixels, mask), "b t h w c -> (b t) h w c")
        pooled = self.image_encoder(pixel_values=flat, train=train).pooled
        values = einops.rearrange(pooled, "(b t) d -> b t d", b=pixels.shape[0])
        if values.shape[-1] != self.width:
            project = dense(self.width, ("embed", "joined"), name="projection", **self.types())
            values = project(values)
        if self.temporal == "transformer":
            order = sinusoids(jnp.arange(values.shape[1]), values.shape[-1])
            values = values + order.astype(values.dtype)
            values = self.transformer()(values, mask, train=train)
        return Tokens(values, mask, masked_mean(values, mask))
