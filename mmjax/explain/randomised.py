"""Whether an explanation is of the model: what is left of it when the weights are random."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Float
from mmjax.explain import features as feature_lib
from mmjax.explain.base import PartMethod
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject
from mmjax.metrics.regression import regression


def shuffled(variables: Any, seed: int = 0) -> Any:
    """The variables with the numbers of each parameter of two axes or more in a random order.

    Each keeps its distribution, so that the activations stay of the size that they were.
    """

    def one(path: Any, leaf: Any) -> Any:
        if leaf.ndim < 2:
            return leaf
        key = jax.random.key(zlib.crc32(f"{seed}{jax.tree_util.keystr(path)}".encode()))
        return jax.random.permutation(key, leaf.reshape(-1)).reshape(leaf.shape)

    params = jax.tree_util.tree_map_with_path(one, variables["params"])
    return {**variables, "params": params}


def agreement(
    subject: Subject,
    batch: Batch,
    choice: Choice,
    method: PartMethod,
    parts: Mapping[str, Float[np.ndarray, "b ..."]],
    *,
    seed: int = 0,
) -> Float[np.ndarray, "b"]:
    """Of each row, the rank correlation of the sizes that a method gives the valid places with
    those that it gives them when weights are random (Adebayo et al. 2018), the mean over
    modalities.

    Near 0 is as it should be: what stays the same whatever was learnt explains the input alone.
    """
    weights = subject.compiled("shuffled", lambda variables: shuffled(variables, seed))(
        subject.ready
    )
    random = method.parts(subject, weights, batch, choice)
    found = []
    for name, values in parts.items():
        valid = np.asarray(feature_lib.valid(batch, name, jnp.asarray(values)))
        other = np.asarray(random[name])
        found.append([_spearman(a[m], b[m]) for a, b, m in zip(values, other, valid, strict=True)])
    return _mean(np.array(found)) if found else np.zeros(len(batch.row_mask))


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    sizes = np.abs(one).astype(np.float64), np.abs(other).astype(np.float64)
    if len(one) < 3 or min(np.ptp(sizes[0]), np.ptp(sizes[1])) <= 0:
        return float("nan")
    return regression(sizes[0], sizes[1])["spearman"]


def _mean(found: Float[np.ndarray, "m b"]) -> Float[np.ndarray, "b"]:
    """Of those that are known; NaN where none is."""
    known = np.isfinite(found)
    total = np.where(known, found, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
