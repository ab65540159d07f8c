"""A run that starts from another one: from its parameters, its tokenizers and its statistics."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from mmjax.checkpoint.digests import LeafRecord
from mmjax.checkpoint.load import load_leaves
from mmjax.core.files import as_tuples
from mmjax.core.registry import Spec
from mmjax.encoders import registry as encoders
from mmjax.train import transfer
from mmjax.train.config import Config
from mmjax.train.other_run import OtherRun, shapes
from mmjax.train.state import TrainState, begun
from mmjax.train.transfer import Plan
from mmjax.writers import console

log = logging.getLogger(__name__)

_COLUMNS = ("part", "from", "arrays taken", "new", "numbers taken", "why new")
_HARMLESS = ("drop", "remat", "dtype")
"""Parts of the names of settings with which an encoder may differ from what it was."""


@dataclasses.dataclass(frozen=True)
class Started:
    """What a run took of another one."""

    run: str
    step: int
    averaged: bool
    """Whether it took the averages that the other run evaluates with."""
    plan: Plan
    sizes: Mapping[str, int]
    """Numbers in each parameter of this run."""

    def tell(self) -> None:
        """Prints what was taken, what stays new, and what was left there."""
        weights = "averaged weights" if self.averaged else "weights"
        console.say(f"starts from {self.run}, step {self.step}, {weights}")
        console.table(transfer.summary(self.plan, self.sizes), _COLUMNS)
        used = {transfer.part_of(name) for name in self.plan.taken.values()}
        left = sorted({transfer.part_of(name) for name in self.plan.left} - used)
        if left:
            console.say(f"left there: {', '.join(left)}")

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "step": self.step,
            "averaged": self.averaged,
            "taken": dict(self.plan.taken),
            "new": list(self.plan.new),
            "left": list(self.plan.left),
        }


def start(
    state: TrainState, config: Config, facts: Mapping[str, Any]
) -> tuple[TrainState, Started]:
    """The state with what `config.init` takes of another run, each array read into its shards.

    `facts` are those of this run's data. Averages, where the other run keeps them, are what it
    evaluates with, and are taken in place of the parameters. Raises ConfigError and CheckpointError
    as `transfer.plan`, and CheckpointError if no checkpoint is whole.
    """
    assert config.init is not None
    source = OtherRun.open(config.init)
    roots = {"params": state.params}
    roots |= {f"collections/{kind}": tree for kind, tree in state.collections.items()}
    flat = {root: traverse_util.flatten_dict(dict(tree), sep="/") for root, tree in roots.items()}
    wanted: dict[tuple[str, str], str] = {}
    plans: list[Plan] = []

    def choose(leaves: Mapping[str, LeafRecord]) -> dict[str, jax.ShapeDtypeStruct]:
        plans[:] = [_plan(source, config, facts, flat["params"], shapes(leaves, "params"))]
        wanted.clear()
        for name, theirs in plans[0].taken.items():
            average = f"ema/{theirs}"
            wanted["params", name] = average if average in leaves else f"params/{theirs}"
        begun = {transfer.part_of(name) for name in plans[0].taken}
        for root in flat.keys() - {"params"}:
            for name, leaf in flat[root].items():
                theirs = f"{root}/{_counterpart(source, config, name)}"
                fits = theirs in leaves and leaves[theirs].shape == leaf.shape
                if (
                    fits
                    and transfer.part_of(name) in begun
                    and transfer.selected(source.init, name)
                ):
                    wanted[root, name] = theirs
        return {path: _target(leaves[path], flat[r][n]) for (r, n), path in wanted.items()}

    arrays, step = load_leaves(source.folder.path, source.init.step, choose)
    for (root, name), path in wanted.items():
        # A copy: two modalities may start from one, and the step donates what it is given.
        flat[root][name] = jnp.array(arrays[path], flat[root][name].dtype)
    _tell_other_options(source, config)
    trees = {root: traverse_util.unflatten_dict(leaves, sep="/") for root, leaves in flat.items()}
    params = trees["params"]
    collections = {kind: trees[f"collections/{kind}"] for kind in state.collections}
    ema = state.ema
    if ema:
        ema = begun(ema, params)
    averaged = any(path.startswith("ema/") for path in arrays)
    sizes = {name: leaf.size for name, leaf in flat["params"].items()}
    told = Started(source.init.run, step, averaged, plans[0], sizes)
    return dataclasses.replace(state, params=params, collections=collections, ema=ema), told


def _plan(
    source: OtherRun, config: Config, facts: Mapping[str, Any], ours: Any, theirs: transfer.Shapes
) -> Plan:
    return transfer.plan(
        {name: leaf.shape for name, leaf in ours.items()},
        theirs,
        source.init,
        list(config.data.modalities),
        differs=functools.partial(_differs, source, config, facts),
        settings=_other_options(source, config),
    )


def _counterpart(source: OtherRun, config: Config, name: str) -> str | None:
    return transfer.counterpart(name, source.init.modalities, config.data.modalities)


def _target(record: LeafRecord, leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(record.shape, jnp.dtype(record.dtype), sharding=leaf.sharding)


def _differs(source: OtherRun, config: Config, facts: Mapping[str, Any], part: str) -> str:
    """Why a part of the model is another thing in the other run; empty if it is not."""
    theirs = source.config
    if part.startswith("encoders_") or part in ("adapt", "joint"):
        return ""
    if part.startswith("objectives_"):
        name = part.removeprefix("objectives_")
        return _other(config.objectives.get(name), theirs.objectives.get(name))
    if part.startswith("task"):
        labels = [_labels(one) for one in (facts, source.facts)]
        return _other(config.task, theirs.task) or ("other labels" * (labels[0] != labels[1]))
    order = [source.init.modalities.get(name) for name in config.model.encoders]
    same = order == list(theirs.model.encoders)
    return _other(config.model.fusion, theirs.model.fusion) or ("other modalities" * (not same))


def _other(ours: Spec | None, theirs: Spec | None) -> str:
    if ours is None or theirs is None or ours.name == theirs.name:
        return ""
    return f"{ours.name} here, {theirs.name} there"


def _labels(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.get("label_names") for name, one in as_tuples(facts["targets"]).items()}


def _other_options(source: OtherRun, config: Config) -> dict[str, str]:
    """Settings that would make a part what it is in the other run, by part."""
    found = {}
    for name, theirs in source.init.modalities.items():
        own, other = config.model.encoders.get(name), source.config.model.encoders.get(theirs)
        if own is None or other is None or own.name != other.name:
            continue
        options = [
            f"model.encoders.{name}.{key}={other.options.get(key, setting.default)}"
            for key, setting in encoders.settings(own.name).items()
            if not any(word in key for word in _HARMLESS)
            and own.options.get(key, setting.default) != other.options.get(key, setting.default)
        ]
        found[f"encoders_{name}"] = " ".join(options)
    if config.model.joint_dim != source.config.model.joint_dim:
        found["joint"] = f"model.joint_dim={source.config.model.joint_dim}"
    return found


def _tell_other_options(source: OtherRun, config: Config) -> None:
    for part, options in _other_options(source, config).items():
        if part != "joint" and options:
            log.warning("%s was trained in %s with %s", part, source.init.run, options)
