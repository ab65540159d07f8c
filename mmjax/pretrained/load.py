"""A Hugging Face folder as a module with its variables."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from jax.sharding import Mesh

from mmjax.core.errors import WeightsError, nearest
from mmjax.core.registry import Spec
from mmjax.core.typing import Array, Dtype
from mmjax.parallel.sharding import unbox, variable_shardings
from mmjax.pretrained import FAMILIES, find, msgpack, safetensors
from mmjax.pretrained.family import Family
from mmjax.pretrained.folder import WeightFiles, read_config, resolve, weight_files
from mmjax.pretrained.match import Report, Spelling, match
from mmjax.pretrained.place import Placements

_READERS: dict[str, ModuleType] = {"safetensors": safetensors, "msgpack": msgpack}


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A module, its variables, and what they came with.

    tokens = encoder.module.apply(encoder.variables, **inputs, train=False)
    """

    module: nn.Module
    variables: Mapping[str, Any]
    """`params`, and `batch_stats` where the module has any."""
    config: Any
    """transformers' config object."""
    spec: Spec
    """The module as a config names it."""
    model_type: str
    source: Path
    report: Report

    @property
    def params(self) -> Any:
        return self.variables["params"]

    @functools.cached_property
    def processor(self) -> Any:
        """The folder's tokenizer, image processor or feature extractor; None if it has none."""
        from mmjax.data.processors import load_processor

        return load_processor(self.source)

    def replace(self, **changes: Any) -> Pretrained:
        """A copy with other variables, say after training."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class Opened:
    """A folder that was looked at, and not read yet."""

    folder: Path
    model_type: str
    config: Any
    spec: Spec
    weights: WeightFiles | None = None
    shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    @property
    def family(self) -> Family:
        return find(self.model_type)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Fields that the module can be called with."""
        return self.family.inputs(self.config)


def open_folder(source: str | os.PathLike, part: str | None = None, **options: Any) -> Opened:
    """What a folder or hub id holds; `options` change the settings of its module.

    A part can also be named behind the source: "folder#vision".
    """
    text = str(source)
    if part is None and "#" in text and not Path(text).exists():
        text, _, part = text.partition("#")
    where = resolve(text)
    model_type, config = _known(read_config(where), where, part)
    files = weight_files(where)
    reader = _READERS[files.format]
    shapes: dict[str, tuple[int, ...]] = {}
    for path in files.paths:
        shapes |= reader.shapes(path)
    family = find(model_type)
    spelling = Spelling(family, config, shapes)
    spec = family.spec(config, frozenset(map(spelling.canonical, shapes))).replace(**options)
    return Opened(where, model_type, config, spec, files, shapes)


def describe(where: Path, part: str | None, spec: Spec) -> Opened:
    """A folder with a config whose module is known already, and whose weights lie elsewhere."""
    model_type, config = _known(read_config(where), where, part)
    return Opened(where, model_type, config, spec)


def build(opened: Opened, dtype: Dtype) -> nn.Module:
    """The folder's module, storing and computing in `dtype`."""
    types = {"dtype": jnp.dtype(dtype), "param_dtype": jnp.dtype(dtype)}
    return opened.family.registry.build(opened.spec, facts=types)


def _known(raw: Mapping[str, Any], where: Path, part: str | None) -> tuple[str, Any]:
    """The model type and config of a folder, or of a part of it."""
    config: Any
    name = str(raw.get("model_type", ""))
    if name not in FAMILIES:
        raise WeightsError(
            652,
            f"model_type {name!r} is not known" if name else "config.json names no model_type",
            where=str(where / "config.json"),
            fix=nearest(name, FAMILIES, most=len(FAMILIES)),
        )
    try:
        config = _config_class(name).from_dict(dict(raw))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(
            651, f"config.json is no config of '{name}': {error}", where=str(where / "config.json")
        ) from error
    family = find(name)
    for field in ("pruned_heads", "quantization_config"):
        if raw.get(field):
            raise WeightsError(
                652,
                f"{field} = {str(raw[field])[:80]} is not supported",
                where=str(where / "config.json"),
                fix="use the weights that these were made from",
            )
    if part is None:
        return name, config
    if part not in family.parts:
        raise WeightsError(
            652,
            f"'{name}' has no part '{part}'",
            where=str(where),
            fix=nearest(part, family.parts),
        )
    name = family.parts[part]
    attribute = find(name).part_config
    return name, getattr(config, attribute) if attribute else config


def _config_class(model_type: str) -> Any:
    import transformers

    known = transformers.CONFIG_MAPPING
    if model_type in known:
        return known[model_type]
    return getattr(transformers, find(model_type).config_class or model_type)


def load(
    source: str | os.PathLike,
    dtype: Dtype = None,
    mesh: Mesh | None = None,
    *,
    part: str | None = None,
    **options: Any,
) -> Pretrained:
    """The module and variables of a Hugging Face folder or hub id.

    `dtype` is what parameters are stored and computed in (float32 if None). With `mesh`, every
    parameter is read straight into its shards. `part` takes one side of a model that has several
    ("vision", "encoder"). `options` are settings of the module (`scan=True`, `pooling="mean"`).
    Attention weights and hidden states are sown: apply with `mutable=["intermediates"]`.

    Raises WeightsError for a folder without config or weights, for pickles, damaged files and an
    unknown model type, and with all missing, unexpected and mis-shaped weights at once.
    """
    return read(open_folder(source, part, **options), dtype, mesh)


def read(opened: Opened, dtype: Dtype = None, mesh: Mesh | None = None) -> Pretrained:
    """Builds the module of a folder and reads its weights."""
    module = build(opened, dtype or jnp.float32)
    arrays, report = read_arrays(opened, abstract(module, opened.inputs, mesh))
    return Pretrained(
        module=module,
        variables=traverse_util.unflatten_dict(arrays, sep="/"),
        config=opened.config,
        spec=opened.spec,
        model_type=opened.model_type,
        source=opened.folder,
        report=report,
    )


def read_arrays(
    opened: Opened, targets: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[dict[str, Array], Report]:
    """The weights of a folder as the arrays `targets`, on their shardings if they have any."""
    if opened.weights is None:
        raise ValueError("the folder was only described")
    found = match(
        opened.family,
        opened.config,
        opened.shapes,
        {path: target.shape for path, target in targets.items()},
        format=opened.weights.format,
        where=str(opened.folder),
    )
    placements = Placements(targets, found.destinations)
    for path in opened.weights.paths:
        _READERS[opened.weights.format].read(path, placements.use)
    return placements.arrays, found.report


def abstract(
    module: nn.Module, inputs: Mapping[str, Any], mesh: Mesh | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """The module's variables by path, as shapes; on a mesh with their shardings."""
    boxed = jax.eval_shape(
        lambda: module.init(
            {"params": jax.random.key(0), "dropout": jax.random.key(0)}, **inputs, train=False
        )
    )
    boxed = {name: tree for name, tree in boxed.items() if name != "intermediates"}
    shapes = unbox(boxed)
    if mesh is not None:
        shapes = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            variable_shardings(boxed, mesh),
        )
    return traverse_util.flatten_dict(shapes, sep="/")
