"""Pretrained encoders: loaded from Hugging Face folders or converted ones, converted, saved."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.sharding import Mesh, SingleDeviceSharding

from mmjax.checkpoint.store import Checkpoints
from mmjax.core.config import spec_from_json, spec_to_json
from mmjax.core.errors import WeightsError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Dtype
from mmjax.generate.config import FILE
from mmjax.pretrained import find
from mmjax.pretrained import load as hugging_face
from mmjax.pretrained import save as saving
from mmjax.pretrained.folder import processor_files
from mmjax.pretrained.load import Opened, Pretrained
from mmjax.pretrained.match import Report

log = logging.getLogger(__name__)

FORMAT = 1
_ENCODER = "encoder.json"
_CONVERSION = "conversion.json"
_CHECKPOINTS = "checkpoints"


def load_pretrained(
    path_or_hub_id: str | os.PathLike,
    dtype: Dtype = None,
    mesh: Mesh | None = None,
    *,
    part: str | None = None,
    **options: Any,
) -> Pretrained:
    """A pretrained module with its variables, config and processor.

        encoder = mmjax.load_pretrained("bert-base-uncased")
        tokens = encoder.module.apply(encoder.variables, **inputs, train=False)

    `path_or_hub_id` is a Hugging Face folder with `flax_model.msgpack` or `model.safetensors`
    (single or in shards), a hub id, or what `mmjax convert` wrote. Parameters are stored and
    computed in `dtype`, float32 if None. With `mesh`, each is read straight into its shards.
    `part` takes one side of a model that has several, as does a name behind the source
    ("openai/clip-vit-base-patch32#vision"). `options` are settings of the module (`scan=True`,
    `pooling="mean"`, `dropout=0.0`).

    Attention weights and hidden states are sown: apply with `mutable=["intermediates"]`.

    Raises WeightsError for a folder without config or weights, for pickles, damaged files and an
    unknown model type, and with all missing, unexpected and mis-shaped weights at once.
    """
    folder = Path(path_or_hub_id)
    if (folder / _ENCODER).is_file():
        if part is not None or options:
            raise WeightsError(
                657,
                f"'{folder}' is converted already, its module is fixed",
                fix="give part and options to `mmjax convert`",
            )
        return _load_converted(folder, dtype, mesh)
    return hugging_face.load(path_or_hub_id, dtype, mesh, part=part, **options)


def save_pretrained(
    encoder: Pretrained,
    folder: str | os.PathLike,
    *,
    max_shard_bytes: int = 5_000_000_000,
    overwrite: bool = False,
) -> Path:
    """Safetensors, config and processor files that transformers' torch class loads.

    Raises WeightsError if the folder holds weights already and `overwrite` is False, or if weights
    that the torch class needs were left out at loading.
    """
    return saving.save(encoder, folder, max_shard_bytes=max_shard_bytes, overwrite=overwrite)


def convert(
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    dtype: Dtype = None,
    part: str | None = None,
    **options: Any,
) -> Pretrained:
    """A Hugging Face folder or hub id as an Orbax checkpoint with config and processor files.

    `out` has `checkpoints`, `config.json`, the processor's files, `encoder.json` (the module) and
    `conversion.json` (what became of every weight); it appears whole or not at all. Raises
    WeightsError if it exists, and as `load_pretrained`.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WeightsError(656, f"'{out}' exists already", fix="name a new folder")
    encoder = hugging_face.load(Path(source), dtype, part=part, **options)
    making = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        _write_converted(encoder, making, source, part)
        if out.is_dir():
            out.rmdir()
        os.replace(making, out)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return dataclasses.replace(encoder, source=out)


def _write_converted(encoder: Pretrained, folder: Path, source: Any, part: str | None) -> None:
    folder.mkdir(parents=True)
    with Checkpoints(folder / _CHECKPOINTS, asynchronous=False) as checkpoints:
        checkpoints.save(0, dict(encoder.variables), data_state={})
    for name, path in processor_files(encoder.source).items():
        shutil.copyfile(path, folder / name)
    shutil.copyfile(encoder.source / "config.json", folder / "config.json")
    if (encoder.source / FILE).is_file():
        shutil.copyfile(encoder.source / FILE, folder / FILE)
    write_json(folder / _CONVERSION, {"source": str(source), **encoder.report.to_json()})
    write_json(
        folder / _ENCODER,
        {
            "format": FORMAT,
            "model_type": encoder.model_type,
            "part": part,
            "module": spec_to_json(find(encoder.model_type).registry, encoder.spec),
            "dtype": str(jnp.dtype(encoder.module.param_dtype)),
        },
    )


def _load_converted(folder: Path, dtype: Dtype, mesh: Mesh | None) -> Pretrained:
    opened, kept, stored = _open_converted(folder)
    module = hugging_face.build(opened, stored)
    where = SingleDeviceSharding(jax.devices()[0])
    targets = {
        path: leaf if mesh is not None else _at(leaf, where)
        for path, leaf in hugging_face.abstract(module, opened.inputs, mesh).items()
    }
    tree = traverse_util.unflatten_dict(targets, sep="/")
    with Checkpoints(folder / _CHECKPOINTS, readonly=True) as checkpoints:
        variables = checkpoints.restore(tree).state
    wanted = jnp.dtype(dtype or stored)
    if wanted != jnp.dtype(stored):
        module = hugging_face.build(opened, wanted)
        types = hugging_face.abstract(module, opened.inputs, None)
        flat = traverse_util.flatten_dict(variables, sep="/")
        cast = {path: leaf.astype(types[path].dtype) for path, leaf in flat.items()}
        variables = traverse_util.unflatten_dict(cast, sep="/")
    return Pretrained(
        module=module,
        variables=variables,
        config=opened.config,
        spec=opened.spec,
        model_type=opened.model_type,
        source=folder,
        report=Report.from_json(kept),
    )


def _at(leaf: jax.ShapeDtypeStruct, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _open_converted(folder: Path) -> tuple[Opened, Mapping[str, Any], str]:
    """What the folder's module is, what became of each weight, and the type they are stored in."""
    try:
        encoder, kept = read_json(folder / _ENCODER), read_json(folder / _CONVERSION)
        if encoder["format"] > FORMAT:
            raise WeightsError(
                657,
                f"the folder has format {encoder['format']}, this mmjax reads up to {FORMAT}",
                where=str(folder),
                fix="update mmjax, or convert again",
            )
        spec = spec_from_json(find(encoder["model_type"]).registry, encoder["module"])
        opened = hugging_face.describe(folder, encoder["part"], spec)
        return opened, kept, encoder["dtype"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            657,
            f"the converted folder is damaged: {error!r}",
            where=str(folder),
            fix="convert it again",
        ) from error
