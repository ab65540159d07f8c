"""The losses in NumPy float64, and derivatives by central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

STEP = 1e-6


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def clip(a, b, scale, *, smoothing=0.0, mask=None) -> float:
    """torch's cross_entropy of the logits and of their transpose, as in OpenCLIP's ClipLoss."""
    kept = np.ones(len(a), bool) if mask is None else mask
    a, b = np.float64(a)[kept], np.float64(b)[kept]
    logits, n = scale * a @ b.T, len(a)
    target = (1 - smoothing) * np.eye(n) + smoothing / n
    ways = [-(target * log_softmax(one)).sum(axis=1).mean() for one in (logits, logits.T)]
    return sum(ways) / 2


def siglip(a, b, scale, bias, *, mask=None) -> float:
    kept = np.ones(len(a), bool) if mask is None else mask
    a, b = np.float64(a)[kept], np.float64(b)[kept]
    signs = 2 * np.eye(len(a)) - 1
    return np.log1p(np.exp(-signs * (scale * a @ b.T + bias))).sum() / len(a)


def slopes(loss: Callable[..., float], arrays: Sequence[np.ndarray], seed: int = 0) -> list:
    """For each array a direction, and the derivative of the loss along it."""
    rng = np.random.default_rng(seed)
    found = []
    for index, array in enumerate(arrays):
        direction = rng.standard_normal(np.shape(array))
        ends = []
        for sign in (1, -1):
            moved = [np.float64(one) for one in arrays]
            moved[index] = moved[index] + sign * STEP * direction
            ends.append(loss(*moved))
        found.append((direction, (ends[0] - ends[1]) / (2 * STEP)))
    return found
