"""Adapters of a run: saved alone, loaded onto a run, merged into a run without any."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from flax import traverse_util

from mmjax.adapt import KEY, AdaptSpec
from mmjax.adapt.merging import merge as merge_params
from mmjax.adapt.wrapping import adapters_of, path_of_site, site_key
from mmjax.api.made_runs import ABOUT, evaluated, write_run
from mmjax.checkpoint import adapters as files
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError, nearest
from mmjax.core.registry import Spec
from mmjax.pretrained import peft
from mmjax.pretrained.load import open_folder
from mmjax.train import adapting
from mmjax.train.config import Config

if TYPE_CHECKING:
    from mmjax.api.run import Run

_COPIED = (*ABOUT, "tuned.json", "metrics.json")
"""Of a run, what one without its adapters has too."""

Form = Literal["mmjax", "peft"]


def save(
    run: Run,
    folder: str | os.PathLike,
    *,
    names: Sequence[str] | None = None,
    trained: bool = True,
    form: Form = "mmjax",
) -> Path:
    """The adapters of a run (those of `names`), in a folder of their own.

    With `trained`, also the other parameters that were trained, such as the head: put onto a run
    that began from the same weights, they make it this one. `form="peft"` writes one LoRA of a
    pretrained encoder as PEFT does, and nothing else.

    Raises ConfigError for a run without adapters or a name that is none; WeightsError for a folder
    that holds an adapter, and what PEFT's format does not know.
    """
    chosen = _chosen(run.config, names)
    params, _ = evaluated(run)
    if form == "peft":
        return _save_peft(run, folder, chosen, params)
    flat = traverse_util.flatten_dict(params, sep="/")
    kept = {name for name in flat if name.startswith(tuple(f"{KEY}/{one}/" for one in chosen))}
    if trained:
        still = adapting.frozen_in(run.config, params)
        moved = {} if still is None else traverse_util.flatten_dict(still, sep="/")
        kept |= {
            name for name in flat if not name.startswith(f"{KEY}/") and not moved.get(name, False)
        }
    about = {
        "run": str(run.folder.path),
        "encoders": {name: spec.name for name, spec in run.config.model.encoders.items()},
        "pretrained": dict(run.config.model.pretrained),
    }
    adapt = config_lib.to_json(run.config)["adapt"]
    saved = files.Saved(
        {name: adapt[name] for name in chosen}, {name: flat[name] for name in sorted(kept)}, about
    )
    return files.save(folder, saved)


def load(
    run: Run, folder: str | os.PathLike | None, *, modality: str | None = None
) -> tuple[Config, dict[str, np.ndarray]]:
    """The config of a run with the adapters of a folder in place of its own, and their parameters.

    With None, those of the run itself. A folder of PEFT is for the encoder of one modality, which
    must be pretrained. Raises WeightsError for what is no adapter, CheckpointError for one that
    does not fit, ConfigError for a modality without pretrained weights.
    """
    stored = config_lib.from_json(Config, run.folder.read_config())
    if folder is None:
        return stored, {}
    if peft.is_peft(folder):
        return _load_peft(run, stored, folder, modality)
    saved = files.load(folder)
    # What stands in for the run's own weights stays.
    several = adapters_of(adapting.strategies(stored))
    adapt = {name: stored.adapt[name] for name, one in several if not one.learns}
    for name, value in saved.adapt.items():
        adapt[name] = config_lib.spec_from_json(_registry(), value)
    # Adapters that the run has none of are checked when its model is made anew.
    shapes = {name: one.shape for name, one in _flat(run).items()}
    new = {n: one.shape for n, one in saved.arrays.items() if n.startswith(f"{KEY}/")}
    files.require_fit(saved, {**new, **shapes}, str(run.folder.path))
    return dataclasses.replace(stored, adapt=adapt), dict(saved.arrays)


def adopted(variables: Any, arrays: Mapping[str, np.ndarray], like: Any) -> dict[str, Any]:
    """The variables with the parameters `arrays`, of the adapters that `like` has."""
    own = traverse_util.flatten_dict(variables["params"], sep="/")
    wanted = traverse_util.flatten_dict(like["params"], sep="/")
    found = {**own, **arrays}
    lost = sorted(set(wanted) - set(found))
    if lost:
        raise CheckpointError(
            603,
            f"the adapter lacks {', '.join(lost[:6])}",
            fix="load it onto a run of the encoders that it was trained on",
        )
    chosen = {name: found[name] for name in wanted}
    return {**variables, "params": traverse_util.unflatten_dict(chosen, sep="/")}


def put(
    run: Run,
    folder: str | os.PathLike,
    out: str | os.PathLike,
    *,
    modality: str | None = None,
) -> Path:
    """A run folder in which the adapters of a folder are in place of those of `run`.

    Raises what `load` raises; CheckpointError if `out` is a run already.
    """
    config, arrays = load(run, folder, modality=modality)
    params, collections = evaluated(run)
    stays = tuple(f"{KEY}/{name}/" for name in config.adapt if name not in _names(arrays))
    flat = {
        name: leaf
        for name, leaf in traverse_util.flatten_dict(params, sep="/").items()
        if not name.startswith(f"{KEY}/") or name.startswith(stays)
    }
    whole = traverse_util.unflatten_dict({**flat, **arrays}, sep="/")
    return write_run(run, out, config, whole, collections)


def _names(arrays: Mapping[str, Any]) -> set[str]:
    """The adapters that some arrays belong to."""
    return {name.split("/")[1] for name in arrays if name.startswith(f"{KEY}/")}


def merge(run: Run, out: str | os.PathLike) -> Path:
    """A run folder without adapters that predicts what `run` does: they are in its weights.

    Raises ConfigError for a run without adapters, or with some that no weights can take in;
    CheckpointError if `out` is a run already.
    """
    _chosen(run.config, None)
    params, collections = evaluated(run)
    adapters = adapters_of(adapting.strategies(run.config))
    merged = merge_params(params, adapters)
    plain = dataclasses.replace(run.config, adapt={})
    return write_run(run, out, plain, merged, collections, copied=_COPIED)


def _registry() -> Any:
    return AdaptSpec.__metadata__[0]  # type: ignore[attr-defined]


def _flat(run: Run) -> dict[str, np.ndarray]:
    return traverse_util.flatten_dict(evaluated(run)[0], sep="/")


def _chosen(config: Config, names: Sequence[str] | None) -> list[str]:
    several = adapters_of(adapting.strategies(config))
    known = [name for name, one in several if one.learns]
    if not known:
        raise ConfigError(109, "the run has no adapters", where="adapt", fix="train one with some")
    for name in names or ():
        if name not in known:
            raise ConfigError(102, f"no adapter '{name}'", fix=nearest(name, known))
    return [name for name in known if names is None or name in names]


def _save_peft(
    run: Run, folder: str | os.PathLike, chosen: Sequence[str], params: Mapping[str, Any]
) -> Path:
    if len(chosen) != 1:
        raise ConfigError(
            109, f"PEFT's format holds one adapter, not {len(chosen)}", fix=f"name one of {chosen}"
        )
    sites = {path_of_site(key): v for key, v in params[KEY][chosen[0]].items()}
    parts = {path.partition("/")[0] for path in sites}
    if len(parts) != 1:
        raise ConfigError(
            109,
            f"the adapter '{chosen[0]}' sits in {', '.join(sorted(parts))}",
            fix="one adapter for each encoder can be written for PEFT",
        )
    part = parts.pop()
    opened = _pretrained(run.config, part.removeprefix("encoders_"))
    adapter = dict(adapters_of(adapting.strategies(run.config)))[chosen[0]]
    return peft.write(
        folder,
        adapter,
        {path.partition("/")[2]: values for path, values in sites.items()},
        opened.family,
        opened.config,
        _shapes_of(params[part]),
        base=str(opened.folder),
    )


def _load_peft(
    run: Run, config: Config, folder: str | os.PathLike, modality: str | None
) -> tuple[Config, dict[str, np.ndarray]]:
    several = list(config.model.pretrained)
    if modality is None and len(several) == 1:
        modality = several[0]
    if modality is None:
        raise ConfigError(
            103,
            "an adapter of PEFT is for one encoder",
            where=str(folder),
            fix=f"name its modality: {', '.join(several) or 'none here is pretrained'}",
        )
    opened = _pretrained(config, modality)
    part = f"encoders_{modality}"
    shapes = _shapes_of(evaluated(run)[0][part])
    adapter, sites = peft.read(folder, opened.family, opened.config, shapes, prefix=f"{part}/")
    options = {field.name: getattr(adapter, field.name) for field in dataclasses.fields(adapter)}
    flat = {
        f"{KEY}/{modality}/{site_key(f'{part}/{path}')}/{name}": value
        for path, values in sites.items()
        for name, value in values.items()
    }
    return dataclasses.replace(config, adapt={modality: Spec("lora", **options)}), flat


def _pretrained(config: Config, modality: str) -> Any:
    if modality not in config.model.pretrained:
        raise ConfigError(
            109,
            f"the encoder of '{modality}' has no pretrained weights that PEFT could know",
            where="model.pretrained",
            fix=nearest(modality, config.model.pretrained),
        )
    return open_folder(config.model.pretrained[modality])


def _shapes_of(params: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    return {f"params/{path}": tuple(leaf.shape) for path, leaf in flat.items()}
