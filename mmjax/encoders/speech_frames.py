"""From samples of a waveform to frames: convolutions, how many frames they make, and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.nn.convolution import conv1d
from mmjax.nn.dense import ACTIVATIONS, Activation
from mmjax.nn.norms import group_norm, layer_norm

ConvNorm = Literal["group", "layer"]

_EPS = 1e-5
"""torch's default, which no config of these families changes."""


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """How many samples one frame is made of: the least that a waveform may have."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def frame_counts(
    samples: Int[Array, "b"], kernels: Sequence[int], strides: Sequence[int]
) -> Int[Array, "b"]:
    """How many frames of `samples` lie whole inside them: 0 for fewer than one frame needs."""
    counts = samples
    for kernel, stride in zip(kernels, strides, strict=True):
        counts = (counts - kernel) // stride + 1
    return jnp.maximum(counts, 0)


def frame_mask(
    mask: Bool[ArrayLike, "b s"] | Int[ArrayLike, "b s"] | None,
    frames: Float[Array, "b t d"],
    kernels: Sequence[int],
    strides: Sequence[int],
) -> Bool[Array, "b t"]:
    """Which of `frames` are valid, by a mask of the samples that convolutions made them of.

    The mask counts the samples, which come first, as transformers' does. A row without one frame's
    samples has no valid frame.
    """
    if mask is None:
        return jnp.ones(frames.shape[:2], bool)
    samples = jnp.sum(jnp.asarray(mask, bool), axis=1, dtype=jnp.int32)
    counts = frame_counts(samples, kernels, strides)
    return jnp.arange(frames.shape[1])[None] < counts[:, None]


class SpeechFrames(nn.Module, kw_only=True):
    """The feature encoder of wav2vec 2.0 (Baevski et al. 2020, section 2): convolutions along time.

    `norm="group"` normalises the first convolution's channels, each over its whole row, padding
    included; `norm="layer"` all frames of all convolutions. Raises ConfigError for a waveform
    shorter than one frame.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    norm: ConvNorm = "group"
    use_bias: bool = False
    activation: Activation = "gelu"
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, waveform: Float[Array, "b s"]) -> Float[Array, "b t c"]:
        self._check(waveform.shape[1])
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values = waveform[..., None]
        sizes = zip(self.channels, self.kernels, self.strides, strict=True)
        for index, (channels, kernel, stride) in enumerate(sizes):
            values = conv1d(
                channels,
                kernel=kernel,
                stride=stride,
                use_bias=self.use_bias,
                name=f"conv_{index}",
                **types,
            )(values)
            name = f"norm_{index}"
            if self.norm == "layer":
                values = layer_norm(name=name, eps=_EPS, **types)(values)
            elif index == 0:
                values = group_norm(name=name, groups=channels, eps=_EPS, **types)(values)
            values = ACTIVATIONS[self.activation](values)
        return values

    def _check(self, samples: int) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise ConfigError(
                109,
                f"{len(self.channels)} channels, {len(self.kernels)} kernels and "
                f"{len(self.strides)} strides of convolutions",
                fix="one of each a convolution",
            )
        least = receptive_field(self.kernels, self.strides)
        if samples < least:
            raise ConfigError(
                109,
                f"a waveform of {samples} samples is shorter than one frame",
                fix=f"at least {least} samples",
            )
