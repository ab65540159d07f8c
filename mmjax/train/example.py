"""Batches that stand for those of a data set: their shapes are all that a program needs."""

from __future__ import annotations

import jax
import numpy as np

from mmjax.core.types import Batch
from mmjax.data.dataset import Dataset


def example_batch(dataset: Dataset, rows: int) -> Batch:
    """A batch of absent rows with the shapes of a real one: what initialisation needs."""
    empty = [None] * rows
    lengths = {
        name: one.padded_lengths[-1] if one.padded_lengths else None
        for name, one in dataset.modalities.items()
    }
    return Batch(
        inputs={n: one.collate(empty, lengths[n]) for n, one in dataset.modalities.items()},
        present={name: np.zeros(rows, bool) for name in dataset.modalities},
        targets={name: one.collate(empty) for name, one in dataset.targets.items()},
        row_mask=np.zeros(rows, bool),
        row=np.full(rows, -1, np.int32),
    )


def example_shapes(dataset: Dataset, rows: int) -> Batch:
    """The shapes and dtypes of a batch, without its memory."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype),
        example_batch(dataset, 1),
    )
