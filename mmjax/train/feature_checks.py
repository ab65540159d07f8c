"""Whether an encoder's outputs stay the same all through training, and what is read of them."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from mmjax.adapt import KEY
from mmjax.adapt.wrapping import adapters_of
from mmjax.core import rng
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Batch
from mmjax.data.dataset import Dataset
from mmjax.encoders import registry as encoders
from mmjax.models.base import Assembly
from mmjax.models.pretraining import Pretraining
from mmjax.train import adapting
from mmjax.train.config import Config
from mmjax.train.optim import path_of
from mmjax.train.state import StatePlan, TrainState

_WHERE = "train.feature_cache."
_FEW = 3


def named(config: Config, module: Any) -> list[str]:
    """The modalities whose features are to be kept, in the order of the encoders."""
    for name in config.train.feature_cache:
        if name not in module.encoders:
            raise ConfigError(
                109,
                f"features of '{name}', which is no modality of the model",
                where="train.feature_cache",
                fix=nearest(name, module.encoders),
            )
    return [name for name in module.encoders if config.train.feature_cache.get(name)]


def require_frozen(config: Config, module: Any, plan: StatePlan, name: str) -> None:
    """Raises ConfigError where training changes the encoder, or runs it on other fields."""
    key, params = f"encoders_{name}", plan.abstract.params
    still = adapting.frozen_in(config, params)
    leaves = jax.tree_util.tree_leaves_with_path({key: params.get(key, {})})
    free = [path_of(path) for path, _ in leaves]
    if still is not None:
        flags = jax.tree.leaves(still.get(key, {}))
        free = [path for path, is_still in zip(free, flags, strict=True) if not is_still]
    learn = {name: one.learns for name, one in adapters_of(adapting.strategies(config))}
    for adapter, sites in params.get(KEY, {}).items():
        here = [site for site in sites if site == key or site.startswith(f"{key}.")]
        if here and not learn[adapter]:
            why = f"adapt.{adapter} has others in place of its weights"
            fix = f"leave adapt.{adapter} out here: an encoder that is kept takes part in no step"
            raise _cannot(name, why, fix)
        free += [f"/{KEY}/{adapter}/{site}" for site in here]
    if free:
        shown = ", ".join(free[:_FEW]) + (", ..." if len(free) > _FEW else "")
        raise ConfigError(
            109,
            f"features of '{name}' cannot be kept: {len(free)} of its parameters are trained "
            f"({shown})",
            where=_WHERE + name,
            fix=f"freeze it whole: optimizer.multipliers='{{\"^/{key}/\": 0.0}}'",
        )
    if any(key in tree for tree in plan.abstract.collections.values()):
        raise _cannot(
            name, "it keeps statistics of batches, which training changes", "leave it out"
        )
    meets = isinstance(module, Assembly) and type(module).run_encoders is not Assembly.run_encoders
    if meets and len(module.encoders) > 1:
        raise _cannot(
            name, "encoders exchange tokens in this model", "model.fusion=concat, or leave it out"
        )
    if isinstance(module, Pretraining):
        for objective in module.objectives.values():
            if any(one.modality == name for one in objective.requests().values()):
                what = f"the objective {type(objective).__name__} runs it on other fields"
                raise _cannot(name, what, "leave it out")


def require_still(config: Config, dataset: Dataset, name: str) -> None:
    """Raises ConfigError where the examples of training are random, or not known beforehand."""
    if dataset.table.lazy:
        raise _cannot(name, "the rows are read from storage as they come", "leave it out")
    if dataset.modalities[name].random:
        where = f"data.modalities.{name}"
        raise _cannot(
            name,
            "its training examples are random (augmentation, several views, word dropout)",
            f"take them out of {where}, such as {where}.augment={{}}, or leave it out",
        )


Shapes = dict[str, jax.ShapeDtypeStruct]


def require_no_draws(
    config: Config,
    name: str,
    encode: Callable[..., Any],
    variables: Any,
    examples: Mapping[bool, Batch],
) -> tuple[bool, dict[bool, Shapes]]:
    """Raises ConfigError if the encoder draws random numbers in training.

    Returns whether it otherwise does in training what it does in evaluation, and the shapes of what
    it makes of both examples, that of training (True) and that of evaluation.
    """

    def run(words: Any, variables: Any, batch: Batch, *, train: bool) -> Any:
        key = jax.random.wrap_key_data(words, impl=rng.IMPLEMENTATION)
        rngs = {stream: jax.random.fold_in(key, i) for i, stream in enumerate(rng.STREAMS)}
        return encode(variables, batch, train=train, rngs=rngs)

    words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0, impl=rng.IMPLEMENTATION)))
    programs, shapes = {}, {}
    for train, example in examples.items():
        told = functools.partial(run, train=train)
        programs[train], read, shapes[train] = reads(told, words, variables, example)
        if train and read[0]:
            spec = config.model.encoders[name]
            settings = {key: one.default for key, one in encoders.settings(spec.name).items()}
            rates = {**settings, **spec.options}
            on = [key for key, rate in rates.items() if "drop" in key and rate]
            fix = " ".join(f"model.encoders.{name}.{key}=0" for key in on)
            raise _cannot(name, "it draws random numbers in training", fix or "leave it out")
    return _told(programs[True]) == _told(programs[False]), shapes


def tokens_read(module: Any, batch: Batch, state: TrainState, names: set[str]) -> set[str]:
    """The modalities whose tokens the loss, the metrics or the predictions depend on.

    Raises ConfigError where something reads fields of these modalities besides their encoders.
    """

    def run(values: Any, batch: Batch, state: TrainState, *, train: bool) -> Any:
        inputs = {
            name: _Only(name, {**fields, "values": values[name]}) if name in names else fields
            for name, fields in batch.inputs.items()
        }
        key = jax.random.wrap_key_data(state.key, impl=rng.IMPLEMENTATION)
        variables = state.variables
        variables |= {"clock": {"progress": jnp.zeros(())}, "momentum": state.best_params}
        own = dataclasses.replace(batch, inputs=inputs)
        if not train:
            return module.apply(variables, own, train=False)
        output, _ = module.apply(
            variables,
            own,
            train=True,
            rngs=rng.streams(key, state.step),
            mutable=list(state.collections),
        )
        return output.loss, output.weight, output.metrics

    values = {name: batch.inputs[name]["values"] for name in names}
    found: set[str] = set()
    for train in (True, False):
        _, read, _ = reads(functools.partial(run, train=train), values, batch, state)
        found |= {name for name in names if read[0][name]}
    return found


def reads(function: Callable[..., Any], *args: Any) -> tuple[Any, Any, Any]:
    """The program of a function without what no output depends on, which inputs it reads (bools in
    the structure of `args`), and the shapes of its outputs."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    program, read = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return program, jax.tree.unflatten(jax.tree.structure(args), read), shapes


def _told(program: Any) -> str:
    """A program as text, without the addresses of functions."""
    return re.sub(r"0x[0-9a-f]+", "", str(program))


def _cannot(name: str, why: str, fix: str) -> ConfigError:
    return ConfigError(
        109, f"features of '{name}' cannot be kept: {why}", where=_WHERE + name, fix=fix
    )


class _Only(dict):
    """Fields of which none but its own may be asked for."""

    def __init__(self, name: str, fields: dict[str, Any]):
        super().__init__(fields)
        self._name = name

    def __missing__(self, key: str) -> Any:
        what = f"its '{key}' is read by more than its encoder"
        raise _cannot(self._name, what, "leave it out")

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]

    def __contains__(self, key: object) -> bool:
        return bool(self[str(key)] is not None)
