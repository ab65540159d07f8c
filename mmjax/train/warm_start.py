"""Parts that start from pretrained weights: their settings, and their parameters."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import traverse_util

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, nearest
from mmjax.pretrained.load import Opened, open_folder, read_arrays
from mmjax.train.config import Config
from mmjax.train.decoders import source_of, targets_of, with_decoder
from mmjax.train.other_run import with_run
from mmjax.train.state import TrainState, begun

log = logging.getLogger(__name__)


def with_encoders(config: Config, stored: Mapping[str, Any] | None = None) -> Config:
    """The config with the settings of every pretrained encoder spelled out, of the task's
    pretrained decoder, and of those that the run of `init` gives.

    What `encoders` says of one overrides what its folder says. `stored` is the config of a run that
    goes on: its encoders are known, and the folders are not needed.

    Raises ConfigError for a pretrained modality that the data lacks, or an encoder of another kind;
    WeightsError as `mmjax.load_pretrained`; CheckpointError if there is no such run.
    """
    config = with_decoder(with_run(config, stored), stored)
    model = config.model
    if not model.pretrained:
        return config
    known = {} if stored is None else config_lib.from_json(Config, stored).model.encoders
    found = {}
    for name, source in model.pretrained.items():
        if name not in config.data.modalities:
            raise ConfigError(
                109,
                f"pretrained weights for '{name}', which is no modality of the data",
                where="model.pretrained",
                fix=nearest(name, config.data.modalities),
            )
        found[name] = known.get(name) or open_folder(source).spec
        given = model.encoders.get(name)
        if given is not None and given.name != found[name].name:
            raise ConfigError(
                109,
                f"'{source}' is a {found[name].name}, not a {given.name}",
                where=f"model.encoders.{name}",
                fix=f"leave the encoder out, or name it {found[name].name}",
            )
        if given is not None:
            found[name] = found[name].replace(**given.options)
    order = [name for name in config.data.modalities if name in {**found, **model.encoders}]
    encoders = {**model.encoders, **found}
    ordered = {name: encoders[name] for name in [*order, *encoders]}
    return dataclasses.replace(config, model=dataclasses.replace(model, encoders=ordered))


def wanted(config: Config) -> bool:
    """Whether some part starts from pretrained weights."""
    return bool(config.model.pretrained or source_of(config))


def start(state: TrainState, config: Config) -> TrainState:
    """The state with the parameters of pretrained parts, each read into its own shards."""
    params, collections = dict(state.params), dict(state.collections)
    for name, source in config.model.pretrained.items():
        key = f"encoders_{name}"
        opened = dataclasses.replace(open_folder(source), spec=config.model.encoders[name])
        trees = {"params": params, **collections}
        mine = {kind: tree[key] for kind, tree in trees.items() if key in tree}
        for kind, tree in _read(opened, mine).items():
            (params if kind == "params" else collections[kind])[key] = tree
    source = source_of(config)
    if source:
        task = dict(params["task"])
        found = _read(open_folder(source), {"params": task["decoder"]}, targets_of)["params"]
        task["decoder"] = {**task["decoder"], **found}
        params["task"] = task
    ema = state.ema
    if ema:
        ema = begun(ema, params)
    return dataclasses.replace(state, params=params, collections=collections, ema=ema)


def _read(
    opened: Opened, variables: Mapping[str, Any], choose: Callable[..., Any] = dict
) -> dict[str, Any]:
    flat = choose(traverse_util.flatten_dict(dict(variables), sep="/"))
    targets = {
        path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for path, leaf in flat.items()
    }
    arrays, report = read_arrays(opened, targets)
    log.info("%s: %s", opened.folder, report.summary())
    return traverse_util.unflatten_dict(arrays, sep="/")
