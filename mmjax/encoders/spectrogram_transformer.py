"""The Audio Spectrogram Transformer."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.convolution import conv
from mmjax.nn.dense import parameter
from mmjax.nn.masking import keep_tokens


class SpectrogramTransformer(TransformerEncoder, kw_only=True):
    """AST (Gong et al. 2021): overlapping patches of log-mel bands, two class tokens, a ViT.

    Its parameters are those of transformers' `ASTModel`, one for one, whose `input_values` are
    `input_features` here. Tokens are the class token, the distillation token and the patches, the
    lowest bands' over time first. `pooled` is the mean of the first two after the final norm.

    As there, the blocks look at the padding; `attention_mask` [b t] only becomes the mask of
    `Tokens`: a patch is valid where its first frame is, the class tokens where any frame is. There
    every sound has `max_frames`; fewer here have the first positions. With `keep`, the places of as
    many patches in each row, the blocks see these alone, in its order (Audio-MAE, Huang et al.
    2022). Raises ConfigError for more frames, for another number of bands than `mel_bins`, and for
    less than one patch.
    """

    max_frames: int = fact(1024)
    mel_bins: int = fact(128)
    patch: int = 16
    frequency_stride: int = 10
    time_stride: int = 10
    eps: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        input_features: Float[ArrayLike, "b t f"],
        attention_mask: Bool[ArrayLike, "b t"] | Int[ArrayLike, "b t"] | None = None,
        keep: Int[ArrayLike, "b m"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = self.types()
        values = jnp.asarray(input_features, self.dtype)
        batch, frames, bands = values.shape
        self._check(frames, bands)
        patches = conv(
            self.width,
            kernel=self.patch,
            stride=(self.frequency_stride, self.time_stride),
            padding="VALID",
            name="patches",
            **types,
        )(values.mT[..., None])
        high, long = patches.shape[1:3]
        whole = high * self._count(self.max_frames, self.time_stride)
        positions = self._learned("positions", 2 + whole)
        grid = positions[:, 2:].reshape(1, high, -1, self.width)
        patches = (patches + grid[:, :, :long]).reshape(batch, high * long, self.width)
        names = ("class_token", "distillation_token")
        first = jnp.concatenate([self._learned(name, 1) for name in names], axis=1)
        first = jnp.broadcast_to(first + positions[:, :2], (batch, 2, self.width))
        mask = jnp.ones((batch, high * long), bool)
        some = jnp.ones((batch, 2), bool)
        if attention_mask is not None:
            some, mask = self._masks(jnp.asarray(attention_mask, bool), high, long)
        if keep is not None:
            patches, mask = keep_tokens(patches, keep), keep_tokens(mask, keep)
        values = jnp.concatenate([first, patches], axis=1)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        values = self.transformer()(values, train=train)
        return Tokens(values, jnp.concatenate([some, mask], axis=1), values[:, :2].mean(axis=1))

    def _masks(
        self, mask: Bool[Array, "b t"], high: int, long: int
    ) -> tuple[Bool[Array, "b 2"], Bool[Array, "b n"]]:
        """Of the first two tokens, and of the patches."""
        patches = mask[:, : long * self.time_stride : self.time_stride]
        some = jnp.repeat(mask.any(axis=1, keepdims=True), 2, axis=1)
        return some, jnp.tile(patches, (1, high))

    def _count(self, size: int, stride: int) -> int:
        return (size - self.patch) // stride + 1

    def _learned(self, name: str, count: int) -> Float[Array, "1 n d"]:
        shape, axes = (1, count, self.width), (None, "tokens", "embed")
        init = nn.initializers.normal(0.02)
        return parameter(self, name, shape, axes, init=init, **self.types())

    def _check(self, frames: int, bands: int) -> None:
        if bands != self.mel_bins or bands < self.patch:
            raise ConfigError(
                109,
                f"{bands} mel bins for mel_bins={self.mel_bins} and patches of {self.patch}",
                fix=f"sounds with {max(self.mel_bins, self.patch)} mel bins",
            )
        if not self.patch <= frames <= self.max_frames:
            raise ConfigError(
                109,
                f"{frames} frames where max_frames={self.max_frames}",
                fix=f"from {self.patch} (one patch) to {self.max_frames} frames",
            )


class SpectrogramTransformerBase(SpectrogramTransformer, kw_only=True):
    """AST of AudioSet: 12 layers of width 768."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    scan: bool = True
