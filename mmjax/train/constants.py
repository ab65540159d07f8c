"""What a model keeps of the data besides its parameters, such as the items of a catalogue."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from mmjax.data.dataset import Dataset
from mmjax.models.two_tower import CATALOGUE
from mmjax.train.state import TrainState


def fill(state: TrainState, dataset: Dataset) -> TrainState:
    """The state with the data's constants where a fresh one has zeros."""
    empty = state.collections.get(CATALOGUE)
    if empty is None:
        return state
    found: dict[str, Any] = {
        f"{name}_{field}": array
        for target in dataset.targets.values()
        for name, fields in getattr(target, "constants", {}).items()
        for field, array in fields.items()
    }
    filled = {
        name: jax.device_put(found[name].astype(leaf.dtype), leaf.sharding)
        for name, leaf in empty.items()
    }
    return dataclasses.replace(state, collections={**state.collections, CATALOGUE: filled})
