"""A run as an ONNX file, for runtimes that are not JAX."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jax.extend.core import jaxpr_as_fun

from mmjax.api.exporting import variables_of
from mmjax.api.run import Run, load_run
from mmjax.core.config import to_json
from mmjax.core.errors import CheckpointError, ConfigError
from mmjax.core.extras import MissingExtra
from mmjax.core.files import atomic
from mmjax.export.inputs import Inputs
from mmjax.export.tracing import forward
from mmjax.export.variants import flatten
from mmjax.kernels.platforms import default_alone
from mmjax.tasks.generation import Generation

_CHECKED_ROWS = 3
_AGREES = 1e-5
"""Relative to the largest value of an output, or absolute where that is below 1."""


def export_onnx(
    run: Run | str | os.PathLike, out: str | os.PathLike, *, rows: int | None = None
) -> Path:
    """The run's model as an ONNX file of any batch size, checked with ONNX Runtime.

        mmjax.export_onnx("runs/first", "first.onnx")

    Inputs are the arrays of a batch by name, such as `inputs/text/input_ids`, outputs those of the
    task, such as `probabilities`, or the vectors of a run that was trained for objectives; what
    makes arrays of raw items is not part of it. Modalities are padded to their longest. `rows`
    fixes the batch size, which some layers (such as convolutions over time) need to convert.
    Scanned layers and texts that are written do not convert.

    Needs jax2onnx and onnxruntime, which want an environment of their own. Raises MissingExtra
    without them, ConfigError for a model that does not convert, and CheckpointError where the file
    does not answer as the run does or is there already.
    """
    converter, runtime = _needed("jax2onnx"), _needed("onnxruntime")
    out = Path(out)
    if out.exists():
        raise CheckpointError(601, f"'{out}' is there already", fix="name another file")
    run = run if isinstance(run, Run) else load_run(run)
    module = run.module
    if isinstance(module.task, Generation):
        raise ConfigError(
            109,
            f"the task '{run.config.task.name}' writes texts, which ONNX does not",
            where=str(run.folder.path),
            fix="mmjax export RUN OUT",
        )
    if rows is not None and rows < 1:
        raise ConfigError(106, f"rows = {rows}", fix="1 or more")
    specs = to_json(run.config.data)["modalities"]
    inputs = Inputs.load(specs, run.folder.processors / "modalities", lengths={})
    flat = {path: jnp.asarray(one) for path, one in flatten(variables_of(run, inputs)).items()}
    function = forward(module, {path: value.dtype for path, value in flat.items()})
    example = inputs.collate([], (), rows or _CHECKED_ROWS)
    names = [_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(example)[0]]
    leaves, tree = jax.tree.flatten(example)

    def predict(*arrays: Any) -> tuple[Any, ...]:
        found = function(flat, jax.tree.unflatten(tree, arrays))
        return tuple(found[name] for name in sorted(found))

    said = sorted(jax.eval_shape(function, flat, example))
    content = _converted(converter, predict, leaves, names, said, rows)
    _check(runtime, content, predict, leaves, names)
    with atomic(out, "wb") as file:
        file.write(content)
    return out


def _converted(
    converter: Any,
    predict: Any,
    leaves: Sequence[np.ndarray],
    names: Sequence[str],
    said: Sequence[str],
    rows: int | None,
) -> bytes:
    size: Any = jax_export.symbolic_shape("B")[0] if rows is None else rows
    shapes = [jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
    try:
        # Traced here: the converter's own versions of jax.numpy's functions lose types.
        with default_alone():
            traced = jaxpr_as_fun(jax.make_jaxpr(predict)(*shapes))
        made = converter.to_onnx(
            lambda *arrays: tuple(traced(*arrays)),
            shapes,
            input_names=list(names),
            output_names=list(said),
        )
    except Exception as error:  # what it cannot convert raises anything
        raise ConfigError(
            109,
            f"the model does not convert to ONNX: {_first_line(error)}",
            fix="unroll scanned layers, "
            + ("fix the rows (--onnx-rows 8), " if rows is None else "")
            + "choose other parts, or mmjax export RUN OUT",
        ) from error
    return bytes(made.SerializeToString())


def _check(
    runtime: Any, content: bytes, predict: Any, leaves: Sequence[np.ndarray], names: Sequence[str]
) -> None:
    """Raises CheckpointError unless ONNX Runtime answers a random batch as the model does, and
    ConfigError where it does not run.
    """
    rng = np.random.default_rng(0)
    arrays = [_drawn(rng, leaf) for leaf in leaves]
    known: Mapping[str, np.ndarray] = dict(zip(names, arrays, strict=True))
    try:
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found = session.run(None, {one.name: known[one.name] for one in session.get_inputs()})
    except Exception as error:  # what it cannot run raises anything
        raise ConfigError(
            109,
            f"ONNX Runtime does not run the model: {_first_line(error)}",
            fix="choose other parts, or mmjax export RUN OUT",
        ) from error
    wanted = jax.device_get(jax.jit(predict)(*arrays))
    for one, expected in zip(found, wanted, strict=True):
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        apart = float(np.abs(np.asarray(one, np.float64) - expected).max(initial=0.0))
        if not apart <= _AGREES * scale:
            raise CheckpointError(
                664, f"the ONNX file is off by {apart:.2g}", fix="mmjax export RUN OUT"
            )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _drawn(rng: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
    if leaf.dtype == bool:
        return np.ones_like(leaf)
    if leaf.dtype.kind in "iu":
        return rng.integers(0, 3, leaf.shape).astype(leaf.dtype)
    return rng.normal(size=leaf.shape).astype(leaf.dtype)


def _name(path: Sequence[Any]) -> str:
    return "/".join(str(getattr(one, "key", one)) for one in path)


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(
            114,
            f"{name} is not installed",
            fix="in an environment of its own: pip install jax2onnx onnxruntime, then mmjax there",
        ) from error
