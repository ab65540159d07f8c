"""Tokens of three modalities of different widths and lengths, with every way of missing some."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Tokens

SIZES = {"text": (4, 6), "image": (3, 5), "audio": (2, 7)}
"""Tokens and width of each modality, in config order."""

PRESENT = {"text": [1, 0, 0, 0], "image": [1, 1, 0, 0], "audio": [1, 1, 1, 0]}
"""Rows: all three, two, the last alone, none."""

ROWS = 4


def masks() -> dict[str, np.ndarray]:
    """Valid tokens [b n]: of a text, the last two are padding."""
    found = {
        name: np.array(PRESENT[name], bool)[:, None] & np.ones((1, length), bool)
        for name, (length, _) in SIZES.items()
    }
    found["text"][:, 2:] = False
    return found


def make_tokens(seed: int = 0, *, hidden: float = 0.0) -> dict[str, Tokens]:
    """Random tokens; padding holds `hidden`, as does the `pooled` of a row without the modality."""
    rng = np.random.default_rng(seed)
    tokens = {}
    for name, mask in masks().items():
        length, width = SIZES[name]
        values = rng.standard_normal((ROWS, length, width))
        pooled = rng.standard_normal((ROWS, width))
        tokens[name] = Tokens(
            jnp.asarray(np.where(mask[..., None], values, hidden), jnp.float32),
            jnp.asarray(mask),
            jnp.asarray(np.where(mask.any(1)[:, None], pooled, hidden), jnp.float32),
        )
    return tokens
