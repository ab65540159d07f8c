"""Joint-embedding prediction: what the averaged encoder makes of patches that were not seen."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.objectives.base import Context, Request, output
from mmjax.objectives.hidden_patches import HiddenPatches, views_of
from mmjax.objectives.momentum import averaged


def jepa_loss(
    guess: Float[Array, "b n d"], targets: Float[Array, "b n d"], hidden: Bool[Array, "b n"]
) -> Float[Array, ""]:
    """The mean smooth L1 distance over the patches that were `hidden`, in float32.

    Each target is brought to mean 0 and variance 1 first, as in I-JEPA's release (Assran et al.
    2023): x^2 / 2 below 1, |x| - 1/2 above. Nothing flows back into the targets.
    """
    return output(_losses(guess, targets), hidden).loss


def _losses(guess: Array, targets: Array) -> Float[Array, "b n"]:
    """Of each patch."""
    target = jax.nn.standardize(
        jax.lax.stop_gradient(targets).astype(jnp.float32), axis=-1, epsilon=1e-5
    )
    distance = jnp.abs(guess.astype(jnp.float32) - target)
    return jnp.mean(jnp.where(distance < 1.0, 0.5 * distance**2, distance - 0.5), axis=-1)


class JEPA(HiddenPatches, kw_only=True):
    """I-JEPA (Assran et al. 2023): the averaged encoder's tokens, told from the visible patches.

    `jepa_loss` of a narrow predictor. Needs averaged parameters, which see the whole input. Regions
    of the size of `region` are hidden; there they are four overlapping blocks, predicted one by
    one. Of several pictures of one row (views) the first counts.
    """

    region: int = 4
    decoder_width: int = 384
    decoder_depth: int = 6
    decoder_heads: int = 12

    batch_coupled: ClassVar[bool] = False

    def requests(self) -> dict[str, Request]:
        whole = Request(self.modality, momentum=True)
        return {**super().requests(), averaged(self.modality): whole}

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        targets = context.tokens(averaged(self.modality)).values
        guess, counts = self.guess(context, targets.shape[-1], train=train)
        # Of one picture, the patches follow the tokens that are none.
        one = targets.shape[1] // views_of(context.batch.inputs[self.modality])
        targets = targets[:, one - counts.shape[1] : one]
        return output(_losses(guess, targets), counts)
