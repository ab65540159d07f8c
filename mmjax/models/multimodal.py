"""The feature-level assembly: encoders, then a fusion, then a task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Batch, TaskOutput, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float
from mmjax.encoders.fields import select


def hide(tokens: Tokens, keep: Bool[Array, "b"]) -> Tokens:
    """The tokens with the rows that are not kept made absent."""
    return Tokens(
        tokens.values,
        tokens.mask & keep[:, None],
        jnp.where(keep[:, None], tokens.pooled, 0),
    )


def encode_views(encoder: nn.Module, fields: Mapping[str, ArrayLike], *, train: bool) -> Tokens:
    """The tokens of a modality, several pictures `b v h w c` of one thing taken together.

    Their tokens follow each other, and `pooled` is the mean of theirs. Pictures with a `frame_mask`
    are a video, which its encoder takes whole.
    """
    pixels = fields.get("pixel_values")
    if pixels is None or pixels.ndim == 4 or "frame_mask" in fields:
        return encoder(**fields, train=train)
    views = pixels.shape[1]
    flat = encoder(pixel_values=einops.rearrange(pixels, "b v ... -> (b v) ..."), train=train)
    return Tokens(
        einops.rearrange(flat.values, "(b v) n d -> b (v n) d", v=views),
        einops.rearrange(flat.mask, "(b v) n -> b (v n)", v=views),
        einops.reduce(flat.pooled, "(b v) d -> b d", "mean", v=views),
    )


def drop(values: Float[Array, "b d"], key: Array, rate: float) -> Float[Array, "b d"]:
    """Dropout (Srivastava et al. 2014): what stays is scaled up."""
    keep = jax.random.bernoulli(key, 1.0 - rate, values.shape)
    return jnp.where(keep, values / (1.0 - rate), 0)


def keep_modalities(
    key: Array, present: Bool[Array, "b modality"], rate: float
) -> Bool[Array, "b modality"]:
    """Hides each present modality with chance `rate`, but never the last one of a row.

    Where every modality would go, one of the present ones, drawn evenly, stays.
    """
    chances = jax.random.uniform(key, present.shape)
    kept = present & (chances >= rate)
    luckiest = jnp.argmax(jnp.where(present, chances, -1.0), axis=1)
    rescued = present & (jnp.arange(present.shape[1])[None] == luckiest[:, None])
    return jnp.where(kept.any(axis=1, keepdims=True), kept, rescued)


class Multimodal(nn.Module, kw_only=True):
    """`{modality: arrays}` -> Tokens -> Fused -> TaskOutput.

    `feature_dropout` leaves out channels of a modality's `pooled` in training.

    With `auxiliary_loss`, the loss gains that many times the losses of each modality alone: the
    same fusion and head, all other modalities hidden. Otherwise the modality that is learnt first
    leaves the others little to explain (Wang et al. 2020), and a row that lacks one is at a loss.
    """

    encoders: Mapping[str, nn.Module]
    fusion: nn.Module
    task: nn.Module
    feature_dropout: Mapping[str, float] = dataclasses.field(default_factory=dict)
    modality_dropout: float = 0.0
    auxiliary_loss: float = 0.0

    def encode(self, batch: Batch, *, train: bool) -> dict[str, Tokens]:
        """Each modality's tokens, with absent (and, in training, dropped) rows masked.

        Raises ConfigError for a modality whose fields are not those of its encoder.
        """
        names = list(self.encoders)
        present = jnp.stack([jnp.asarray(batch.present[name]) for name in names], axis=1)
        if train and self.modality_dropout > 0.0 and len(names) > 1:
            present = keep_modalities(self.make_rng("dropout"), present, self.modality_dropout)
        tokens = {}
        for index, name in enumerate(names):
            encoder = self.encoders[name]
            fields = select(encoder, batch.inputs[name], name)
            own = hide(encode_views(encoder, fields, train=train), present[:, index])
            rate = self.feature_dropout.get(name, 0.0)
            if train and rate > 0.0:
                pooled = drop(own.pooled, self.make_rng("dropout"), rate)
                own = Tokens(own.values, own.mask, pooled)
            tokens[name] = own
        return tokens

    def embed(self, batch: Batch) -> dict[str, Float[Array, "b d"]]:
        """The summaries of a batch: `fused`, and each modality's own by its name."""
        tokens = self.encode(batch, train=False)
        own = {name: one.pooled for name, one in tokens.items()}
        return {"fused": self.fusion(tokens, train=False).pooled, **own}

    def __call__(self, batch: Batch, *, train: bool) -> TaskOutput:
        tokens = self.encode(batch, train=train)
        output = self.task(self.fusion(tokens, train=train), batch, train=train)
        if not self.auxiliary_loss or not train or len(tokens) == 1:
            return output
        extra = jnp.zeros((), jnp.float32)
        for name in tokens:
            rows = jnp.asarray(batch.row_mask) & tokens[name].mask.any(axis=1)
            alone = {
                other: one if other == name else hide(one, jnp.zeros_like(rows))
                for other, one in tokens.items()
            }
            own = self.task(
                self.fusion(alone, train=train),
                dataclasses.replace(batch, row_mask=rows),
                train=train,
            )
            extra += own.loss * own.weight / jnp.maximum(output.weight, 1e-9)
        return dataclasses.replace(output, loss=output.loss + self.auxiliary_loss * extra)
