"""A process's part of the data."""

from __future__ import annotations

from jax.sharding import Mesh

from mmjax.data.dataset import Dataset
from mmjax.data.loader import Loader
from mmjax.parallel.feeding import batch_part
from mmjax.train.config import TrainConfig


def ahead_of(train: TrainConfig) -> int:
    """Batches to be made before they are asked for: those of the next call while the steps of one
    are taken, and of the one behind it.
    """
    return 2 * train.steps_per_call if train.steps_per_call > 1 else 1


def load(
    dataset: Dataset,
    split: str,
    mesh: Mesh,
    *,
    train: bool,
    seed: int = 0,
    start: int = 0,
    ahead: int = 1,
) -> Loader:
    """This process's part of a split's batches, as `mesh` shares them out; the rest are those of
    `Dataset.loader`.
    """
    part, parts = batch_part(mesh)
    return dataset.loader(
        split,
        train=train,
        seed=seed,
        start=start,
        process_index=part,
        process_count=parts,
        ahead=ahead,
    )
