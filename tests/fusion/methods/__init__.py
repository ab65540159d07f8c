"""What each registered fusion computes, in NumPy float64: one file a method, with its `METHOD`.

The file bears the name under which the method is registered. Its reference is written from the
paper, not from the module, and is asked for the result and, by central differences, the gradient.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import reference

from mmjax.core.types import Tokens

WIDTH = 8


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a reference returns; `values` [b n d] by modality, padding may hold anything."""

    pooled: np.ndarray
    values: Mapping[str, np.ndarray]
    modality_weights: np.ndarray | None = None
    attention: Mapping[str, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """How to test one fusion of width `WIDTH`."""

    reference: Callable[[Any, Mapping[str, Tokens]], Expected]
    """From parameters and tokens, all in float64, in config order."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Make it small, and give every parameter something to do."""
    without_gradient: tuple[str, ...] = ()
    """Ends of the paths of parameters that cannot matter."""
    pooled_does_not_use: tuple[str, ...] = ()
    """Parts of the paths of parameters that only `values` depends on."""
    tolerance: float = 5e-5


KEY_BIAS = ("/key/bias",)
"""The bias of attention's keys adds the same to all logits of a query."""


def double(tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
    return {
        name: Tokens(np.float64(one.values), np.asarray(one.mask), np.float64(one.pooled))
        for name, one in tokens.items()
    }


def here(one: Tokens) -> np.ndarray:
    """[b 1]: 1 where the row has the modality."""
    return one.mask.any(axis=1, keepdims=True) * 1.0


def projected(p: Any, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
    """Every modality in the width of the fusion; zeros where there is nothing."""
    return {
        name: Tokens(
            reference.dense(p[f"{name}_tokens"], one.values) * one.mask[..., None],
            one.mask,
            reference.dense(p[f"{name}_pooled"], one.pooled) * here(one),
        )
        for name, one in tokens.items()
    }


def pooling(
    own: Mapping[str, Tokens], pooled: np.ndarray, weights: np.ndarray | None = None
) -> Expected:
    """Of a method that only pools: its vector is added to every projected token."""
    values = {name: one.values + pooled[:, None] for name, one in own.items()}
    return Expected(pooled, values, weights)


METHODS: dict[str, Method] = {
    found.name: importlib.import_module(f"{__name__}.{found.name}").METHOD
    for found in pkgutil.iter_modules(__path__)
}
