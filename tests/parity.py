"""What a module returned against what a golden file holds."""

from __future__ import annotations

import functools
from typing import Any

import goldens
import jax
import numpy as np

from mmjax.core.types import Decoded, Embeddings, Tokens
from mmjax.pretrained.load import Pretrained


def outputs(found: Any) -> dict[str, Any]:
    """What a module returned, by the names that golden files use."""
    if isinstance(found, Tokens):
        return {"values": found.values, "pooled": found.pooled, "mask": found.mask}
    if isinstance(found, Embeddings):
        return {**found.values, "logit_scale": found.logit_scale, "logit_bias": found.logit_bias}
    assert isinstance(found, Decoded)
    encoder = {} if found.encoder is None else {"encoder": found.encoder.values}
    return {"logits": found.logits, "values": found.tokens.values, **encoder}


def relative_error(ours: Any, theirs: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The largest difference over the largest value, where the mask says that it counts."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    if mask is not None and mask.shape == theirs.shape[:2]:
        ours, theirs = ours[mask], theirs[mask]
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def errors(golden: goldens.Golden, encoder: Pretrained) -> dict[str, float]:
    """The relative error of each output of a golden case. Padding's own values do not count."""
    apply = jax.jit(functools.partial(encoder.module.apply, train=False))
    found = outputs(apply(encoder.variables, **golden.inputs))
    mask = golden.inputs.get("attention_mask")
    by_token = () if mask is None else ("values", "logits")
    if "decoder_input_ids" in golden.inputs:
        by_token = ()  # those are the decoder's tokens, and the mask the encoder's
    return {
        key: relative_error(
            found[key], expected, np.asarray(mask, bool) if key in by_token else None
        )
        for key, expected in golden.outputs.items()
    }
