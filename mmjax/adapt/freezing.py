"""What is trained without an adapter: parts alone, deeper layers more, one layer after another."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from mmjax.adapt.base import Strategy
from mmjax.adapt.lora import require_share
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array

Part = Literal["heads", "fusion", "biases", "norms", "encoders"]

PATTERNS: dict[str, str] = {
    "heads": r"^/(task|heads|own|joint|objectives|user_head|item_head)(_[^/]*)?/",
    "fusion": r"^/((last_|user_|items_)?fusion|exchanges|combination|stand_ins)(_[^/]*)?/",
    "biases": r"/bias$",
    "norms": r"norm(_\d+)?/(scale|bias)$|_scale$",
    "encoders": r"^/encoders_",
}
"""What finds the parameters of a part."""

_ENCODER = re.compile(r"^/encoders_[^/]+/")
_LAYER = re.compile(r"/(?:layer|stage|block)_(\d+)(?=/)")
_SCANNED = re.compile(r"/stack/layers/")
_BEHIND = re.compile(r"/(norm|pool[a-z_]*|head[a-z_]*|projection)/")

Layer = tuple[int, ...]
"""Where a layer stands: its number, or those of its stage and in its stage."""


@dataclasses.dataclass(frozen=True)
class Only(Strategy):
    """Trains some parts of a model alone: heads, fusion, biases, norms, encoders, patterns.

    `biases` alone is BitFit (Ben Zaken et al. 2022). The rest is frozen, but for adapters and what
    `optimizer.multipliers` names.
    """

    parts: tuple[Part, ...] = ("heads",)
    patterns: tuple[str, ...] = ()
    """Of paths such as "/encoders_text/words/embedding"."""

    def multipliers(self) -> Mapping[str, float]:
        kept = [*(PATTERNS[part] for part in self.parts), *self.patterns]
        return {**dict.fromkeys(kept, 1.0), "": 0.0}


@dataclasses.dataclass(frozen=True)
class LayerDecay(Strategy):
    """Each layer of an encoder learns at `rate` times the rate of the next.

    The last one at the whole rate, and what stands before the first at one more `rate` (Howard &
    Ruder 2018, Bao et al. 2022). What an encoder has behind its layers, fusions and heads learn at
    the whole rate.

    Adapters are left as they are.
    """

    rate: float = 0.75

    def __post_init__(self) -> None:
        require_share("rate", self.rate)

    def optimizer(
        self,
        inner: optax.GradientTransformationExtraArgs,
        name: str,
        total_steps: int,
        max_grad_norm: float | None,
    ) -> optax.GradientTransformationExtraArgs:
        def update(updates: Any, params: Any = None) -> Any:
            back = distances(updates)
            return jax.tree.map(
                lambda one, n: one * jnp.asarray(self.rate**n, one.dtype), updates, back
            )

        return optax.with_extra_args_support(optax.chain(inner, optax.stateless(update)))


@struct.dataclass
class Waiting:
    """Steps that were taken, and the state of the update rule."""

    count: Array
    inner: Any


@dataclasses.dataclass(frozen=True)
class Gradual(Strategy):
    """Encoders begin frozen and are freed from the last layer to the first (Howard & Ruder 2018).

    The last layer, and what stands behind it, is free after `every` of the run, the one before it
    after twice that, and so on; what stands before the first layer comes last. The program is that
    of full training: what waits is not moved, but costs what it costs when it is free.
    """

    every: float = 0.1
    """A share of the run."""

    def __post_init__(self) -> None:
        if not 0.0 < self.every <= 1.0:
            raise ConfigError(106, f"every = {self.every}", fix="expected a share, above 0")

    def optimizer(
        self,
        inner: optax.GradientTransformationExtraArgs,
        name: str,
        total_steps: int,
        max_grad_norm: float | None,
    ) -> optax.GradientTransformationExtraArgs:
        length = self.every * total_steps

        def init(params: Any) -> Waiting:
            return Waiting(jnp.zeros((), jnp.int32), inner.init(params))

        def update(
            updates: Any, state: Waiting, params: Any = None, **told: Any
        ) -> tuple[Any, Waiting]:
            new, state_inner = inner.update(updates, state.inner, params, **told)
            back = distances(new, outside=-1)
            freed = jax.tree.map(
                lambda one, n: jnp.where(state.count >= (jnp.asarray(n) + 1) * length, one, 0),
                new,
                back,
            )
            return freed, Waiting(state.count + 1, state_inner)

        return optax.GradientTransformationExtraArgs(init, update)


def distances(tree: Any, *, outside: float = 0) -> Any:
    """How many layers stand between each parameter of an encoder and the encoder's end.

    0 in the last layer and behind it, all layers for what stands before the first. Layers that are
    stacked have a number each, with axes of 1 behind. `outside` is for what is in no encoder.
    """
    leaves = {_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    layers: dict[str, set[Layer]] = {}
    for path, leaf in leaves.items():
        encoder = _ENCODER.match(path)
        if encoder is not None:
            layers.setdefault(encoder[0], set()).update(_layers(path, leaf))
    order = {name: {one: i for i, one in enumerate(sorted(own))} for name, own in layers.items()}

    def distance(path: tuple, leaf: Any) -> Any:
        name = _path(path)
        encoder = _ENCODER.match(name)
        if encoder is None:
            return outside
        known, own = order[encoder[0]], _layers(name, leaf)
        if not own:
            return 0 if _BEHIND.search(name) else len(known)
        back = np.array([len(known) - 1 - known[one] for one in own])
        return back.reshape(-1, *[1] * (leaf.ndim - 1)) if _SCANNED.search(name) else int(back[0])

    return jax.tree_util.tree_map_with_path(distance, tree)


def _path(path: tuple) -> str:
    return "/" + "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)


def _layers(path: str, leaf: Any) -> list[Layer]:
    """The layers that a parameter belongs to, several where they are stacked, none outside."""
    numbers = tuple(int(number) for number in _LAYER.findall(path))
    if _SCANNED.search(path):
        return [(*numbers, index) for index in range(leaf.shape[0])]
    return [numbers] if numbers else []
