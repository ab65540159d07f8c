"""What tasks about parts of a text share: their tokens, their places, and the parts as text."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Batch, Fused
from mmjax.core.typing import Array, Bool, Float, Int


def tokens_of(fused: Fused, text: str) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"]]:
    """The tokens of the modality `text` and their mask. Raises ConfigError if there is none."""
    if text not in fused.spans:
        raise ConfigError(
            109,
            f"the task reads the tokens of '{text}', which the model does not have",
            where="task.text",
            fix=nearest(text, fused.spans),
        )
    start, stop = fused.spans[text]
    return fused.values[:, start:stop], fused.mask[:, start:stop]


def offsets_of(batch: Batch, text: str, count: int) -> Int[Array, "b n 2"]:
    """The characters of each of the `count` tokens.

    Raises ConfigError where the modality does not tell them, or its encoder makes other tokens of
    them.
    """
    fields = batch.inputs.get(text, {})
    if "offsets" not in fields:
        raise ConfigError(
            109,
            f"the modality '{text}' does not tell which characters its tokens are of",
            where=f"data.modalities.{text}.offsets",
            fix="set offsets=True, of a modality of kind text",
        )
    offsets = jnp.asarray(fields["offsets"])
    if offsets.shape[1] != count:
        raise ConfigError(
            109,
            f"the encoder of '{text}' makes {count} tokens of {offsets.shape[1]}",
            where=f"model.encoders.{text}",
            fix="choose one that keeps a token for each, such as text_transformer",
        )
    return offsets


def summarised(
    fused: Fused, text: str, *, dropout: float, train: bool
) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"]]:
    """The tokens of a text, each with what all modalities together say; to be called in a head."""
    values, mask = tokens_of(fused, text)
    values = values + fused.pooled[:, None].astype(values.dtype)
    return nn.Dropout(dropout, deterministic=not train)(values), mask


def kept(spans: np.ndarray) -> np.ndarray:
    """Which rows of an array of spans are some."""
    return np.asarray(spans)[..., 0] >= 0
