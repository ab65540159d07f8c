"""Masked autoencoders: the pixels, or bands, of patches that the encoder did not see."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.nn.patches import to_patches
from mmjax.objectives.base import Context, output
from mmjax.objectives.hidden_patches import HiddenPatches, space_of


def masked_patches_loss(
    guess: Float[Array, "b n p"],
    patches: Float[Array, "b n p"],
    hidden: Bool[Array, "b n"],
    *,
    normalise: bool = False,
) -> Float[Array, ""]:
    """The mean squared error over the patches that were `hidden`, in float32 (He et al. 2022).

    With `normalise`, each patch is brought to mean 0 and variance 1 first, as with MAE's
    `norm_pix_loss`: (x - mean) / sqrt(variance + 1e-6), the variance over p - 1.
    """
    return output(_losses(guess, patches, normalise), hidden).loss


def _losses(guess: Array, patches: Array, normalise: bool) -> Float[Array, "b n"]:
    """Of each patch."""
    target = patches.astype(jnp.float32)
    if normalise:
        mean = target.mean(axis=-1, keepdims=True)
        variance = target.var(axis=-1, ddof=1, keepdims=True)
        target = (target - mean) / jnp.sqrt(variance + 1e-6)
    return jnp.mean(jnp.square(guess.astype(jnp.float32) - target), axis=-1)


class MaskedPatches(HiddenPatches, kw_only=True):
    """A masked autoencoder: `masked_patches_loss` of what a light decoder makes of visible patches.

    Of several pictures of one row (views) the first counts; of a padded sound or video, the patches
    that are not padding.
    """

    normalise: bool = True
    """Whether each patch is told in units of its own spread, about its mean."""

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        space = space_of(context.batch.inputs[self.modality])
        patches = to_patches(space, self.patch)
        guess, counts = self.guess(context, patches.shape[-1], train=train)
        return output(_losses(guess, patches, self.normalise), counts)


class MaskedImage(MaskedPatches, kw_only=True):
    """MAE (He et al. 2022): three of four patches of a picture are hidden."""


class MaskedAudio(MaskedPatches, kw_only=True):
    """Audio-MAE (Huang et al. 2022): four of five patches of a sound's bands are hidden.

    The encoder is a `spectrogram_transformer` whose strides are its patch.
    """

    modality: str = "audio"
    mask_ratio: float = 0.8


class MaskedVideo(MaskedPatches, kw_only=True):
    """VideoMAE (Tong et al. 2022): nine of ten tubes of a video are hidden."""

    modality: str = "video"
    patch: int | tuple[int, ...] = (2, 16, 16)
    mask_ratio: float = 0.9
    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6
