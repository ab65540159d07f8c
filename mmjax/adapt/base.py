"""What a strategy of training is, and where in a model an adapter sits."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from mmjax.core.typing import Array, Dtype

Values = Mapping[str, Array]
"""The parameters of an adapter at one module."""

Names = tuple[str | None, ...]

Hook = Callable[[nn.Module, Any], Any]


class _Hooks(threading.local):
    def __init__(self) -> None:
        self.stack: list[Hook] = []


_hooks = _Hooks()


@contextlib.contextmanager
def behind(hook: Hook) -> Iterator[None]:
    """Within, what a module and its adapters made goes through `hook(module, output)`."""
    _hooks.stack.append(hook)
    try:
        yield
    finally:
        _hooks.stack.pop()


def hooked(module: nn.Module, output: Any) -> Any:
    """A module's output through all hooks, the newest first."""
    for hook in reversed(_hooks.stack):
        output = hook(module, output)
    return output


@dataclasses.dataclass(frozen=True)
class Site:
    """A module that an adapter changes."""

    path: str
    """As "encoders_text/transformer/stack/layers/attention/query"."""
    inputs: tuple[int, ...]
    """The axes that a layer contracts, or those of its table of vectors; of other modules the width
    of what they are given."""
    outputs: tuple[int, ...]
    input_names: Names
    """Logical names of `inputs`."""
    output_names: Names
    heads: int | None = None
    """Of an attention."""
    stacked: tuple[int, ...] = ()
    """The layers of a scanned stack, before all axes of its parameters."""
    stacked_names: Names = ()
    layer: str | None = None
    """Its `layers.Layer`, if it is one."""


class Strategy:
    """A choice of what is trained. Subclasses are frozen dataclasses, their fields the settings."""

    def multipliers(self) -> Mapping[str, float]:
        """Learning-rate factors by pattern, which stand after those of the config."""
        return {}

    def optimizer(
        self,
        inner: optax.GradientTransformationExtraArgs,
        name: str,
        total_steps: int,
        max_grad_norm: float | None,
    ) -> optax.GradientTransformationExtraArgs:
        """What the update rule becomes in a run of `total_steps`; `name` is the strategy's own."""
        return inner

    def watch(self, opt_state: Any, name: str) -> dict[str, Array]:
        """Numbers of the optimiser's state for the log."""
        return {}


@dataclasses.dataclass(frozen=True)
class Adapter(Strategy):
    """Parameters of its own at some modules of a model, whose calls it changes.

    The parts of the model that it sits in ("encoders_text") are frozen, but for what
    `optimizer.multipliers` names.
    """

    mergeable: ClassVar[bool] = False
    """Whether it can become part of the weights of the module that it changes."""
    learns: ClassVar[bool] = True
    """Whether its parameters are trained; if not, it stands below all that are."""
    replaces: ClassVar[tuple[str, ...]] = ()
    """Parameters of the module itself that its own are in place of: the module has none of them."""

    targets: tuple[str, ...] = ()
    """Patterns that find the paths of modules, such as "^encoders_text/.*/(query|value)$"."""
    optional: bool = False
    """Whether it may find nothing, as in a baseline of a modality that it is not for."""

    def fits(self, module: nn.Module) -> bool:
        """Whether it knows how to change a module of this kind."""
        raise TypeError(f"{type(self).__name__} does not say what it fits")

    def finds(self, path: str) -> bool:
        return any(re.search(pattern, path) for pattern in self.targets)

    def create(self, site: Site, key: Array) -> dict[str, Any]:
        """New parameters for a site, boxed with their logical names; stacked as the site is."""
        raise TypeError(f"{type(self).__name__} creates nothing")

    def __call__(
        self, call: Callable[..., Any], module: nn.Module, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """What the module returns in place of `call(*args, **kwargs)`."""
        raise TypeError(f"{type(self).__name__} changes nothing")

    @property
    def settles(self) -> bool:
        """Whether `settle` changes anything."""
        return False

    def of(self, kernel: Array, values: Values) -> Values:
        """Its parameters in place of a kernel, if it replaces it; `values` are fresh ones."""
        raise TypeError(f"{type(self).__name__} replaces nothing")

    def settle(self, base: Mapping[str, Array], values: Values) -> Values:
        """The parameters of a fresh adapter, now that the weights it starts from are known.

        `base` are the parameters of the module itself.
        """
        return values

    def merged(self, path: str, base: Mapping[str, Array], values: Values) -> dict[str, Array]:
        """The module's own parameters with the adapter in them; both may be stacked."""
        raise TypeError(f"{type(self).__name__} cannot be merged")

    def unmerged(self, path: str, base: Mapping[str, Array], values: Values) -> dict[str, Array]:
        """What `merged` was given, from what it returned."""
        raise TypeError(f"{type(self).__name__} cannot be merged")


def boxed(value: Array, names: Names) -> nn.LogicallyPartitioned:
    """An array with its logical names, as Linen's `init` returns parameters."""
    return nn.LogicallyPartitioned(value, names)


def is_dense(module: nn.Module) -> bool:
    """Whether a module is a dense layer over the last axes of its input."""
    if isinstance(module, nn.Dense):
        return True
    if not isinstance(module, nn.DenseGeneral) or module.batch_dims:
        return False
    axes = module.axis if isinstance(module.axis, tuple) else (module.axis,)
    return tuple(axes) == tuple(range(-len(axes), 0))


def dropped(module: nn.Module, values: Array, rate: float) -> Array:
    """Dropout of an adapter's input, in training: where there is a random stream for it."""
    if not rate or not module.has_rng("dropout"):
        return values
    keep = jax.random.bernoulli(module.make_rng("dropout"), 1.0 - rate, values.shape)
    return jnp.where(keep, values / (1.0 - rate), 0)


def compute(module: nn.Module, *values: Array) -> tuple[Array, ...]:
    """Parameters in the type that the module computes in."""
    dtype: Dtype = getattr(module, "dtype", None)
    return tuple(one if dtype is None else jnp.asarray(one, dtype) for one in values)
