"""Low-rank adapters whose ranks are given to the layers that use them: AdaLoRA."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from mmjax.adapt.allocation import Allocating, Budget, Schedule, allocating
from mmjax.adapt.base import Adapter, Site, Values, boxed, compute, dropped, is_dense
from mmjax.adapt.lora import low_rank, product, require_rank, require_share
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array


@dataclasses.dataclass(frozen=True)
class AdaLoRA(Adapter):
    """AdaLoRA: as LoRA, with ranks that training leaves to the layers which use them most.

    y = W x + scale * B E A x, E diagonal, of which entries are set to 0 during training where they
    matter least (Zhang et al. 2023, algorithm 1). Agrees with PEFT's `AdaLoraConfig`, of which
    `scale` is `alpha / (rank + 1e-5)`.

    Each layer begins with `rank` entries; after `initial` of the run the number that all layers
    keep falls as a cube, every `every` steps, to `target` a layer at `final` before the end, and
    then stays. What matters is the sensitivity times its uncertainty, both averaged (`beta1`,
    `beta2`). `orthogonality` weighs how far rows of A and columns of B are from orthonormal: its
    gradient is added to that of the loss. All of this is in the update rule, so no loop can do
    without; the ranks are in the log.
    """

    mergeable: ClassVar[bool] = True

    rank: int = 12
    target: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = (r"^encoders_.*/(query|value)$",)
    initial: float = 0.1
    """A share of the run, or a number of steps where it is 1 or more."""
    final: float = 0.2
    """A share of the run, or a number of steps where it is 1 or more."""
    every: int = 10
    beta1: float = 0.85
    beta2: float = 0.85
    orthogonality: float = 0.5

    def __post_init__(self) -> None:
        require_rank(self.rank)
        require_share("dropout", self.dropout)
        for name in ("beta1", "beta2"):
            require_share(name, getattr(self, name))
        if not 0 <= self.target <= self.rank or self.every < 1:
            raise ConfigError(
                106,
                f"target = {self.target}, rank = {self.rank}, every = {self.every}",
                fix="expected 0 <= target <= rank, every of 1 or more",
            )
        if min(self.initial, self.final, self.orthogonality) < 0:
            raise ConfigError(
                106,
                f"initial = {self.initial}, final = {self.final}, "
                f"orthogonality = {self.orthogonality}",
                fix="expected 0 or more",
            )

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank + 1e-5)

    def fits(self, module: nn.Module) -> bool:
        return is_dense(module)

    def create(self, site: Site, key: Array) -> dict[str, Any]:
        layers, names = site.stacked, site.stacked_names
        first, last = jax.random.split(key)
        a = 0.02 * jax.random.normal(first, (*layers, *site.inputs, self.rank))
        b = 0.02 * jax.random.normal(last, (*layers, self.rank, *site.outputs))
        return {
            "a": boxed(a, (*names, *site.input_names, None)),
            "e": boxed(jnp.zeros((*layers, self.rank)), (*names, None)),
            "b": boxed(b, (*names, None, *site.output_names)),
        }

    def __call__(
        self, call: Callable[..., Any], module: nn.Module, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        (given,) = args
        output = call(given, **kwargs)
        a, e, b = compute(module, values["a"], values["e"], values["b"])
        seen = dropped(module, given, self.dropout)
        return output + (self.scale * low_rank(seen, a * e, b)).astype(output.dtype)

    def delta(self, kernel: Array, values: Values) -> Array:
        """What is added to the kernel, in float32; all may be stacked."""
        e = values["e"]
        between = values["a"].ndim - e.ndim
        spread = jnp.expand_dims(e, tuple(range(e.ndim - 1, e.ndim - 1 + between)))
        return self.scale * product(values["a"] * spread, values["b"], kernel)

    def merged(self, path: str, base: Mapping[str, Array], values: Values) -> dict[str, Array]:
        return self._plus(base, self.delta(base["kernel"], values))

    def unmerged(self, path: str, base: Mapping[str, Array], values: Values) -> dict[str, Array]:
        return self._plus(base, -self.delta(base["kernel"], values))

    def _plus(self, base: Mapping[str, Array], delta: Array) -> dict[str, Array]:
        kernel = base["kernel"]
        return {**base, "kernel": (jnp.asarray(kernel, jnp.float32) + delta).astype(kernel.dtype)}

    def schedule(self, total_steps: int) -> Schedule:
        """Raises ConfigError where nothing of the run is left between its two ends."""

        def steps(length: float) -> int:
            return round(length * total_steps) if length < 1 else int(length)

        return Schedule(total_steps, steps(self.initial), steps(self.final), self.every)

    def optimizer(
        self,
        inner: optax.GradientTransformationExtraArgs,
        name: str,
        total_steps: int,
        max_grad_norm: float | None,
    ) -> optax.GradientTransformationExtraArgs:
        budget = Budget(self.target, self.beta1, self.beta2, self.orthogonality)
        return allocating(inner, name, budget, self.schedule(total_steps), max_grad_norm)

    def watch(self, opt_state: Any, name: str) -> dict[str, Array]:
        found: dict[str, Array] = {}

        def look(state: Any) -> None:
            if isinstance(state, Allocating) and state.name == name:
                found.update(state.ranks())

        jax.tree.map(look, opt_state, is_leaf=lambda one: isinstance(one, Allocating))
        return found
