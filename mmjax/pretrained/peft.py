"""LoRA adapters as PEFT saves them: `adapter_config.json` and `adapter_model.safetensors`.

    encoder = mmjax.load_pretrained("bert-base-uncased")
    encoder = peft.load(encoder, "folder-of-peft")       # a module with the adapter
    peft.save(encoder, "out")                            # what PEFT's `from_pretrained` loads

Names and shapes come from the family's table of weights, read the other way round, so that every
family has them: of dense layers, of embeddings, and of convolutions, also those that are one matrix
here.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from mmjax.adapt import KEY
from mmjax.adapt.layers import Layer
from mmjax.adapt.lora import LoRA
from mmjax.adapt.wrapping import adapted, path_of_site, site_key, without_adapters
from mmjax.core.errors import WeightsError
from mmjax.core.files import atomic_path, read_json, write_json
from mmjax.pretrained import find
from mmjax.pretrained.family import Family
from mmjax.pretrained.load import Pretrained
from mmjax.pretrained.match import Shapes
from mmjax.pretrained.peft_places import Place, places_of

log = logging.getLogger(__name__)

SETTINGS = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PARTS = {
    "lora_A.weight": "a",
    "lora_B.weight": "b",
    "lora_embedding_A": "a",
    "lora_embedding_B": "b",
    "lora_magnitude_vector": "scale",
}
_NAME = re.compile(re.escape(_PREFIX) + "(.+)[.](" + "|".join(map(re.escape, _PARTS)) + ")")

Sites = dict[str, dict[str, np.ndarray]]
"""By the path of a module, the parameters of its adapter."""


def is_peft(folder: str | os.PathLike) -> bool:
    return (Path(folder) / SETTINGS).is_file()


def load(encoder: Pretrained, folder: str | os.PathLike, name: str = "lora") -> Pretrained:
    """The encoder with a LoRA of PEFT on it. Raises WeightsError as `read`."""
    params = dict(encoder.variables["params"])
    shapes = _shapes(params)
    adapter, sites = read(folder, find(encoder.model_type), encoder.config, shapes)
    own = {**params.get(KEY, {}), name: {site_key(path): v for path, v in sites.items()}}
    before = getattr(encoder.module, "adapters", ())
    return encoder.replace(
        module=adapted(_plain(encoder), (*before, (name, adapter))),
        variables={**encoder.variables, "params": {**params, KEY: own}},
    )


def save(encoder: Pretrained, folder: str | os.PathLike, name: str = "lora") -> Path:
    """Writes one LoRA of an encoder as PEFT does. Raises WeightsError as `write`."""
    adapter = dict(encoder.module.adapters)[name]
    params = encoder.variables["params"]
    sites = {path_of_site(key): dict(values) for key, values in params[KEY][name].items()}
    family = find(encoder.model_type)
    return write(
        folder, adapter, sites, family, encoder.config, _shapes(params), base=str(encoder.source)
    )


def read(
    folder: str | os.PathLike, family: Family, config: Any, shapes: Shapes, prefix: str = ""
) -> tuple[LoRA, Sites]:
    """An adapter and its parameters by our paths, for a module with parameters of these shapes.

    `shapes` are those of `params/...`. `prefix` stands before the paths in the adapter's targets.
    Raises WeightsError for what is no LoRA, has several ranks or trained biases, and for layers
    that the module does not have.
    """
    folder = Path(folder)
    settings = _settings(folder)
    weights = _weights(folder / WEIGHTS)
    places = places_of(family, config, shapes)
    found: dict[str, dict[int | None, dict[str, np.ndarray]]] = {}
    kinds: dict[str, Layer] = {}
    unknown = []
    for name, parts in weights.items():
        known = name if name in places else name.removeprefix(family.prefix)
        if known not in places:
            unknown.append(name)
            continue
        for place in places[known]:
            sizes = (math.prod(parts["a"].shape[1:]), len(parts["b"]))
            if sizes != place.theirs:
                raise WeightsError(
                    655,
                    f"'{name}' is adapted from {sizes[0]} to {sizes[1]} numbers, and has "
                    f"{place.theirs[0]} and {place.theirs[1]} here",
                    where=str(folder),
                    fix="load it onto its own model; convolutions in groups have no LoRA here",
                )
            found.setdefault(place.path, {})[place.layer] = _ours(place, parts)
            kinds[place.path] = place.layer_here
    if unknown or not found:
        raise WeightsError(
            655,
            f"the adapter has layers that a '{config.model_type}' lacks here: "
            + ", ".join(f"'{name}'" for name in unknown[:8]),
            where=str(folder),
            fix="load it onto the model that it was trained on",
        )
    sites = {path: _stacked(path, layers, shapes, folder) for path, layers in found.items()}
    same = sorted({re.sub(r"(layer|stage|block)_\d+", r"\1_\\d+", path) for path in sites})
    adapter = LoRA(
        rank=int(settings["r"]),
        alpha=float(settings["lora_alpha"]),
        dropout=float(settings.get("lora_dropout") or 0.0),
        targets=tuple(f"^{prefix}{path}$" for path in same),
        rank_stabilized=bool(settings.get("use_rslora")),
        dora=bool(settings.get("use_dora")),
        layers=tuple(sorted({kinds[path] for path in sites})),
    )
    return adapter, sites


def write(
    folder: str | os.PathLike,
    adapter: Any,
    sites: Mapping[str, Mapping[str, Any]],
    family: Family,
    config: Any,
    shapes: Shapes,
    *,
    base: str,
) -> Path:
    """Writes an adapter of these paths. `base` is what PEFT calls the model it belongs to.

    Raises WeightsError for what is no LoRA, for a folder that holds one, and for layers that have
    no counterpart, or that several of ours share with different A.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    if not isinstance(adapter, LoRA):
        raise WeightsError(
            652, f"PEFT's format is written of lora, not of {type(adapter).__name__}"
        )
    if (folder / SETTINGS).exists():
        raise WeightsError(656, f"'{folder}' holds an adapter already", fix="name another folder")
    weights: dict[str, np.ndarray] = {}
    targets, turned, written = set(), False, set()
    for name, places in places_of(family, config, shapes).items():
        mine = [(place, sites[place.path]) for place in places if place.path in sites]
        if not mine:
            continue
        written |= {place.path for place, _ in mine}
        targets.add(name)
        turned |= mine[0][0].turned
        for part, array in _theirs(name, mine, adapter).items():
            weights[f"{_PREFIX}{name}.{part}"] = array
    lost = sorted(set(sites) - written)
    if lost:
        raise WeightsError(
            656, f"no layer of {family.saved_as} is '{lost[0]}'", fix="leave it out of the targets"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(weights, str(temporary), metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "task_type": None,
        "inference_mode": True,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "target_modules": sorted(targets),
        "use_rslora": adapter.rank_stabilized,
        "use_dora": adapter.dora,
        "fan_in_fan_out": turned,
        "bias": "none",
        "init_lora_weights": True,
    }
    write_json(folder / SETTINGS, settings)
    return folder


def _plain(encoder: Pretrained) -> Any:
    """The encoder's module as its folder has it, without adapters."""
    module: Any = encoder.module
    if not getattr(module, "adapters", ()):
        return module
    types = {"dtype": module.dtype, "param_dtype": module.param_dtype}
    return find(encoder.model_type).registry.build(encoder.spec, facts=types)


def _shapes(params: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    flat = traverse_util.flatten_dict(without_adapters(params), sep="/")
    return {f"params/{path}": tuple(leaf.shape) for path, leaf in flat.items()}


def _settings(folder: Path) -> dict[str, Any]:
    settings = read_json(folder / SETTINGS)
    refused = {
        "rank_pattern": settings.get("rank_pattern"),
        "alpha_pattern": settings.get("alpha_pattern"),
        "lora_bias": settings.get("lora_bias"),
        "target_parameters": settings.get("target_parameters"),
    }
    for field, value in refused.items():
        if value:
            raise WeightsError(652, f"{field} = {value!r} is not supported", where=str(folder))
    if settings.get("peft_type") != "LORA" or settings.get("bias", "none") != "none":
        raise WeightsError(
            652,
            f"the adapter is a {settings.get('peft_type')} with bias = {settings.get('bias')!r}",
            where=str(folder),
            fix="a LORA without biases can be read",
        )
    return settings


def _weights(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Their module -> its parts."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError(653, f"the adapter cannot be read: {error}", where=str(path)) from error
    found: dict[str, dict[str, np.ndarray]] = {}
    left = []
    for name, array in arrays.items():
        known = _NAME.fullmatch(name)
        if known is None:
            left.append(name)
            continue
        found.setdefault(known[1], {})[_PARTS[known[2]]] = array.astype(np.float32)
    if left:
        log.warning("%s: left out %s", path, ", ".join(left[:8]))
    return found


def _ours(place: Place, parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    rank = len(parts["a"])
    first, last = parts["a"].reshape(rank, -1), parts["b"].reshape(-1, rank)
    found = {
        "a": first[:, place.of_input].T.reshape(*place.inputs, rank),
        "b": last[place.of_output].T.reshape(rank, *place.outputs),
    }
    if "scale" in parts:
        found["scale"] = parts["scale"].reshape(-1)[place.of_output].reshape(place.outputs)
    return found


def _stacked(
    path: str, layers: Mapping[int | None, dict[str, np.ndarray]], shapes: Shapes, folder: Path
) -> dict[str, np.ndarray]:
    if None in layers:
        return layers[None]
    weight = f"params/{path}/kernel"
    count = shapes[weight if weight in shapes else f"params/{path}/embedding"][0]
    if len(layers) < count:
        raise WeightsError(
            655,
            f"the adapter has '{path}' of {len(layers)} layers, and the module scans {count}",
            where=str(folder),
            fix="build the module with scan=False",
        )
    several = [layers[index] for index in range(count)]
    return {part: np.stack([one[part] for one in several]) for part in several[0]}


def _theirs(
    name: str, mine: list[tuple[Place, Mapping[str, Any]]], adapter: LoRA
) -> dict[str, np.ndarray]:
    """The parts of one of their layers, of those of ours that it is."""
    rank = adapter.rank
    given, made = mine[0][0].theirs
    first = np.zeros((rank, given), np.float32)
    last = np.zeros((made, rank), np.float32)
    lengths = np.zeros(made, np.float32)
    for index, (place, values) in enumerate(mine):
        own = {
            part: np.asarray(one if place.layer is None else one[place.layer], np.float32)
            for part, one in values.items()
        }
        a = np.zeros_like(first)
        a[:, place.of_input] = own["a"].reshape(-1, rank).T
        if index and not np.array_equal(a, first):
            raise WeightsError(
                656,
                f"'{name}' is {len(mine)} layers here, with an A each",
                fix="merge the adapter, and save the weights",
            )
        first = a
        last[place.of_output] = own["b"].reshape(rank, -1).T
        if adapter.dora:
            lengths[place.of_output] = own["scale"].reshape(-1)
    place = mine[0][0]
    names = (
        ("lora_embedding_A", "lora_embedding_B")
        if place.table
        else ("lora_A.weight", "lora_B.weight")
    )
    if place.window is not None:
        ones = (1,) * (len(place.window) - 1)
        first = first.reshape(rank, *place.window)
        last, lengths = last.reshape(made, rank, *ones), lengths.reshape(1, made, *ones)
    found = dict(zip(names, (first, last), strict=True))
    return {**found, "lora_magnitude_vector": lengths} if adapter.dora else found
