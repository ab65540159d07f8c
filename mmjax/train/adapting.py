"""What a config's `adapt` makes of the model, of the update rule and of what is frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import traverse_util

from mmjax.adapt import KEY, registry
from mmjax.adapt.base import Adapter, Strategy
from mmjax.adapt.merging import settle
from mmjax.adapt.wrapping import adapted, adapters_of, path_of_site
from mmjax.checkpoint.trees import flatten
from mmjax.core.errors import ConfigError, MMJaxError
from mmjax.core.typing import Array
from mmjax.models.base import Assembly
from mmjax.models.build import build_model
from mmjax.models.pretraining import Pretraining
from mmjax.train.config import Config
from mmjax.train.noise import gradient_noise
from mmjax.train.optim import frozen, make_optimizer
from mmjax.train.sharpness import sharpness_aware
from mmjax.train.state import TrainState, begun
from mmjax.train.trained import trained


def strategies(config: Config) -> dict[str, Strategy]:
    """What `adapt` names, built. Raises ConfigError for settings out of their range."""
    found = {}
    for name, spec in config.adapt.items():
        if not name or set(name) & set("./"):
            raise ConfigError(106, f"adapt has the name '{name}'", fix="one without . and /")
        try:
            found[name] = registry.build(spec)
        except MMJaxError as error:
            raise ConfigError(
                error.code, error.what, where=f"adapt.{name}", fix=error.fix
            ) from error
    return found


def build(config: Config, facts: Mapping[str, Any]) -> Assembly | Pretraining:
    """The model of a config with its adapters."""
    adapters = adapters_of(strategies(config))
    return adapted(build_model(config.model, config.task, facts, config.objectives), adapters)


def multipliers(config: Config, params: Mapping[str, Any]) -> dict[str, float]:
    """Learning-rate factors by pattern: 0 for adapters that do not learn, then the config's, those
    of `adapt`, and 0 for the parts of the model that have adapters."""
    several = strategies(config)
    still = [n for n, one in adapters_of(several) if not one.learns and n in params.get(KEY, {})]
    found = {**{f"^/{KEY}/{name}/": 0.0 for name in still}, **config.optimizer.multipliers}
    for one in several.values():
        found = {**found, **{p: f for p, f in one.multipliers().items() if p not in found}}
    sites = [site for sites in params.get(KEY, {}).values() for site in sites]
    parts = sorted({path_of_site(site).partition("/")[0] for site in sites})
    return {**found, **{f"^/{part}/": 0.0 for part in parts}}


def optimizer(
    config: Config, schedule: optax.Schedule, total_steps: int
) -> optax.GradientTransformationExtraArgs:
    """The update rule of a config, with all that `adapt` does to it."""
    several = strategies(config)
    if not several:
        return _around(config, make_optimizer(config.optimizer, schedule))

    def made(params: Any) -> optax.GradientTransformationExtraArgs:
        # Which parts have adapters is known of the parameters alone.
        factors = multipliers(config, params)
        whole = make_optimizer(dataclasses.replace(config.optimizer, multipliers=factors), schedule)
        there = params.get(KEY, {})
        for name, one in several.items():
            if isinstance(one, Adapter) and name not in there:
                continue
            whole = one.optimizer(whole, name, total_steps, config.optimizer.max_grad_norm)
        return whole

    def update(updates: Any, state: Any, params: Any = None, **told: Any) -> tuple[Any, Any]:
        return made(updates).update(updates, state, params, **told)

    return _around(
        config,
        optax.GradientTransformationExtraArgs(lambda params: made(params).init(params), update),
    )


def _around(
    config: Config, rule: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The rule behind what changes the gradients that it is given."""
    own = config.optimizer
    if own.gradient_noise:
        noise = gradient_noise(own.gradient_noise, config.seed)
        rule = optax.with_extra_args_support(optax.chain(noise, rule))
    return sharpness_aware(rule, own.sam) if own.sam else rule


def frozen_in(config: Config, params: Any) -> Any:
    """True for the parameters that are not trained; None if there are none."""
    return frozen(params, multipliers(config, params))


def averaged(config: Config) -> Callable[[Any], Any] | bool:
    """What of the parameters is averaged: all that are trained, or nothing."""
    if not (config.train.ema_decay or config.train.average_from):
        return False
    return lambda params: trained(params, frozen_in(config, params))


def without_average(state: TrainState) -> set[str]:
    """The names that averages of the parameters that have none would have in a checkpoint."""
    several = [flatten({"ema": tree})[0] for tree in (state.params, state.ema) if state.ema]
    return set(several[0]) - set(several[1]) if several else set()


def watch(config: Config) -> Callable[[Any], dict[str, Array]]:
    """Reads numbers for the log of the optimiser's state, as `adapt/<name>/<what>`."""
    several = strategies(config)

    def read(opt_state: Any) -> dict[str, Array]:
        return {
            f"{KEY}/{name}/{what}": value
            for name, one in several.items()
            for what, value in one.watch(opt_state, name).items()
        }

    return read


def whole(config: Config) -> Config | None:
    """The config without what stands in for weights: of a run that begins, to read them into. None
    if it has nothing of the kind."""
    replacing = {n for n, one in adapters_of(strategies(config)) if one.replaces}
    adapt = {name: spec for name, spec in config.adapt.items() if name not in replacing}
    if not replacing:
        return None
    train = dataclasses.replace(config.train, feature_cache={})
    return dataclasses.replace(config, adapt=adapt, train=train)


def replaced(fresh: TrainState, state: TrainState, config: Config) -> TrainState:
    """`fresh` with the parameters of `state`, which is of `whole(config)`: as they are, or, where
    an adapter has others in place of them, as it has them."""
    params = {**state.params, KEY: dict(state.params.get(KEY, {}))}
    for name, adapter in adapters_of(strategies(config)):
        if adapter.replaces and name in fresh.params.get(KEY, {}):
            sites = fresh.params[KEY][name]
            params[KEY][name] = {
                key: jax.jit(adapter.of)(leaf_of(state.params, path_of_site(key)), values)
                for key, values in sites.items()
            }
    flat = traverse_util.flatten_dict(params, sep="/")
    wanted = traverse_util.flatten_dict(dict(fresh.params), sep="/")
    found = {name: jax.device_put(flat[name], leaf.sharding) for name, leaf in wanted.items()}
    own = traverse_util.unflatten_dict(found, sep="/")
    ema = begun(fresh.ema, own) if fresh.ema else fresh.ema
    return dataclasses.replace(fresh, params=own, collections=state.collections, ema=ema)


def leaf_of(params: Any, path: str) -> Array:
    """The kernel of a module."""
    for part in path.split("/"):
        params = params[part]
    return params["kernel"]


def settled(state: TrainState, config: Config, taken: Mapping[str, str]) -> TrainState:
    """The state with what fresh adapters begin with where that depends on the weights.

    Those of which `taken` has parameters, of another run, are not fresh.
    """
    adapters = tuple(
        (name, one)
        for name, one in adapters_of(strategies(config))
        if one.settles and not any(key.startswith(f"{KEY}/{name}/") for key in taken)
    )
    if not adapters or KEY not in state.params:
        return state
    found = settle(state.params, adapters)
    placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), found, state.params)
    ema = state.ema
    if ema:
        ema = {**ema, KEY: begun(ema[KEY], placed[KEY])}
    return dataclasses.replace(state, params=placed, ema=ema)
