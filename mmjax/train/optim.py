"""Schedules, masks and the update rule, from Optax."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmjax.parallel.sharding import is_boxed, path_of
from mmjax.train.config import OptimizerConfig
from mmjax.train.moments import kept_in
from mmjax.train.sparsity import shrink
from mmjax.train.trained import trained

_ADAPTERS = "/adapt/"


def decay_mask(params: Any, patterns: tuple[str, ...]) -> Any:
    """True for the parameters that decay: those whose path no pattern finds."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: not any(re.search(pattern, path_of(path)) for pattern in patterns), params
    )


def learning_rate_factors(params: Any, multipliers: Mapping[str, float]) -> Any:
    """The factor of each parameter, as `by_pattern` finds it; 1 where no pattern does."""
    return by_pattern(params, multipliers, 1.0)


def weight_decays(params: Any, config: OptimizerConfig) -> Any:
    """The weight decay of each parameter: 0 for what `no_decay` finds, else as `by_pattern`."""
    rates = by_pattern(params, config.decays, config.weight_decay)
    decaying = decay_mask(params, config.no_decay)
    return jax.tree.map(lambda rate, decays: rate if decays else 0.0, rates, decaying)


def by_pattern(params: Any, values: Mapping[str, float], other: float) -> Any:
    """For each parameter the value of the first pattern that finds its path, else `other`.

    The name of an adapter ("/adapt/lora/encoders_text.mlp.up/a") holds that of the module which it
    adapts, and is meant only by patterns that say "adapt".
    """

    def value(path: tuple, _: Any) -> float:
        name = path_of(path)
        adapter = name.startswith(_ADAPTERS)
        meant = {p: v for p, v in values.items() if not adapter or "adapt" in p}
        return next((v for pattern, v in meant.items() if re.search(pattern, name)), other)

    return jax.tree_util.tree_map_with_path(value, params, is_leaf=is_boxed)


def frozen(params: Any, multipliers: Mapping[str, float]) -> Any:
    """True for the parameters whose learning rate has the factor 0; None if there are none."""
    still = jax.tree.map(lambda factor: factor == 0, learning_rate_factors(params, multipliers))
    return still if any(jax.tree.leaves(still)) else None


def make_schedule(config: OptimizerConfig, total_steps: int, warmup_steps: int) -> optax.Schedule:
    """Learning rate by step: linear warm-up from 0, then the schedule down to its end."""
    peak, end = config.learning_rate, config.learning_rate * config.end_fraction
    decay_steps = max(total_steps - warmup_steps, 1)
    after: optax.Schedule = {
        "constant": lambda: optax.constant_schedule(peak),
        "linear": lambda: optax.linear_schedule(peak, end, decay_steps),
        "cosine": lambda: optax.cosine_decay_schedule(peak, decay_steps, config.end_fraction),
    }[config.schedule]()
    if not warmup_steps:
        return after
    return optax.join_schedules(
        [optax.linear_schedule(0.0, peak, warmup_steps), after], [warmup_steps]
    )


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformationExtraArgs:
    """`optax.clip_by_global_norm` that is told the norm, if it is known, as `grad_norm`."""

    def update(
        updates: Any, state: Any, params: Any = None, *, grad_norm: Any = None, **_: Any
    ) -> tuple[Any, Any]:
        norm = global_norm(updates) if grad_norm is None else grad_norm
        keep = norm < max_norm
        clipped = jax.tree.map(
            lambda g: jnp.where(keep, g, (g / norm.astype(g.dtype)) * max_norm), updates
        )
        return clipped, state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule
) -> optax.GradientTransformationExtraArgs:
    """Clipping by the global norm, the update rule, decoupled decay, factors, learning rate, L1.

    Its update may be told the norm of the gradients as `grad_norm`.
    """
    rules = {
        "adamw": lambda: optax.scale_by_adam(config.b1, config.b2, config.eps),
        "lion": lambda: optax.scale_by_lion(config.b1, config.b2),
        "sgd": lambda: optax.trace(config.momentum),
    }

    def scale(updates: Any, params: Any = None) -> Any:
        factors = learning_rate_factors(updates, config.multipliers)
        return jax.tree.map(lambda update, factor: update * factor, updates, factors)

    def decay(updates: Any, params: Any = None) -> Any:
        rates = weight_decays(updates, config)
        return jax.tree.map(lambda one, own, rate: one + rate * own, updates, params, rates)

    def strengths(params: Any) -> Any:
        factors = learning_rate_factors(params, config.multipliers)
        decaying = decay_mask(params, config.no_decay)
        return jax.tree.map(lambda one, yes: config.l1 * one * yes, factors, decaying)

    parts = [kept_in(rules[config.name](), config.moments)]
    if config.max_grad_norm is not None:
        parts.insert(0, clip_by_global_norm(config.max_grad_norm))
    if config.decays:
        parts.append(optax.stateless(decay))
    elif config.weight_decay:
        parts.append(
            optax.add_decayed_weights(
                config.weight_decay, mask=lambda params: decay_mask(params, config.no_decay)
            )
        )
    if config.multipliers:
        parts.append(optax.stateless(scale))
    parts.append(optax.scale_by_learning_rate(schedule))
    if config.l1:
        parts.append(shrink(schedule, strengths))
    whole = optax.with_extra_args_support(optax.chain(*parts))
    if 0 not in config.multipliers.values():
        return whole

    return _of_trained(whole, config.multipliers)


def _of_trained(
    inner: optax.GradientTransformationExtraArgs, multipliers: Mapping[str, float]
) -> optax.GradientTransformationExtraArgs:
    """`inner` for what is trained alone: the rest has no moments, and no part in the norm that
    clips. Its updates are 0, or None where its gradients are."""

    def moving(tree: Any) -> Any:
        return trained(tree, frozen(tree, multipliers))

    def update(updates: Any, state: Any, params: Any = None, **told: Any) -> tuple[Any, Any]:
        own = None if params is None else moving(params)
        new, state = inner.update(moving(updates), state, own, **told)
        filled = jax.tree.map(
            lambda given, found: jnp.zeros_like(given) if found is None else found, updates, new
        )
        return filled, state

    return optax.GradientTransformationExtraArgs(lambda params: inner.init(moving(params)), update)


def global_norm(tree: Any) -> jax.Array:
    """The 2-norm of all leaves together, in float32."""
    return optax.tree.norm(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree))
