"""The Open Inference Protocol v2: a model's metadata, requests to raw items, results to tensors.

A text, a category and a file are BYTES (a file base64 in JSON, as it is in binary data), a number
is FP64, a picture may also be UINT8 [n, h, w, 3], and all else is BYTES of JSON. The first axis
counts items. Tensors of a table are named by column. An empty file is a missing one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic_core import from_json as parse_json

from mmjax.core.errors import nearest
from mmjax.export.program import Program, Result
from mmjax.serve import tensors
from mmjax.serve.config import Limits
from mmjax.serve.errors import ServeError
from mmjax.serve.examples import MEDIA, check_present, decoded

VERSION = "1"
EXTENSIONS = ("binary_tensor_data",)
ANSWER = "answer"
"""The output that is an item's answer as JSON."""

_PLATFORM = "mmjax"
_INFER_KEYS = ("id", "parameters", "inputs", "outputs")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor that a request may hold."""

    name: str
    modality: str
    kind: str
    datatype: str = "BYTES"
    column: str | None = None
    """The column of a table that it is."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request, read."""

    id: str | None
    examples: list[dict[str, Any]]
    outputs: tuple[tuple[str, bool], ...]
    """Names that are wanted, and whether as binary data."""
    deadline_s: float | None


def input_tensors(program: Program) -> dict[str, Tensor]:
    """What a request may hold, by name."""
    found: list[Tensor] = []
    for one in program.inputs:
        if one.kind == "table":
            for column in one.columns:
                number = one.fields.get(column, {}).get("kind") == "number"
                datatype = "FP64" if number else "BYTES"
                found.append(Tensor(column, one.name, one.kind, datatype, column))
            continue
        # The name of a modality stands for the first of its columns.
        found += [Tensor(name, name, one.kind) for name in (one.name, *one.columns[1:])]
    return {one.name: one for one in found}


def metadata(program: Program) -> dict[str, Any]:
    """A model as `/v2/models/NAME` tells it."""
    inputs = input_tensors(program).values()
    outputs = [
        {
            "name": one.name,
            "datatype": tensors.datatype_of(one.dtype),
            "shape": [-1, *(size if size > 0 else -1 for size in one.shape)],
        }
        for one in program.outputs
    ]
    return {
        "name": program.name,
        "versions": [VERSION],
        "platform": _PLATFORM,
        "inputs": [{"name": t.name, "datatype": t.datatype, "shape": [-1]} for t in inputs],
        "outputs": [*outputs, {"name": ANSWER, "datatype": "BYTES", "shape": [-1]}],
        "parameters": {
            "digest": program.digest,
            "task": program.task,
            "labels": list(program.labels),
            "streams": program.streams,
            "modalities": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "required": one.required,
                    "takes": one.takes,
                    "columns": list(one.columns),
                    "limits": dict(one.limits),
                    "fields": {name: dict(field) for name, field in one.fields.items()},
                }
                for one in program.inputs
            ],
            **program.metadata,
        },
    }


def read_request(program: Program, body: bytes, header_length: str, limits: Limits) -> Asked:
    """A body of `infer`; `header_length` is the header of its binary form, empty without one.

    Raises ServeError 800, 801 or 808, naming the tensor.
    """
    size = _header_length(header_length, len(body))
    request = parsed(body[:size])
    for name in request:
        if name not in _INFER_KEYS:
            fix = nearest(name, _INFER_KEYS)
            raise ServeError(800, f"no field '{name[:40]}'", fix=fix)
    parameters = _object(request.get("parameters"), "parameters")
    given = request.get("inputs")
    if not isinstance(given, list) or not given or not all(isinstance(t, dict) for t in given):
        raise ServeError(800, "no inputs", where="inputs", fix="give a list of tensors")
    if len(given) > limits.max_fields:
        raise ServeError(808, f"{len(given)} inputs", fix=f"at most {limits.max_fields}")
    examples = _examples(program, given, memoryview(body)[size:], limits)
    asked_id = request.get("id")
    if asked_id is not None and not isinstance(asked_id, str):
        raise ServeError(800, "the id is no string", where="id")
    binary = parameters.get("binary_data_output", False)
    if not isinstance(binary, bool):
        raise ServeError(800, "binary_data_output is not true or false", where="parameters")
    outputs = _outputs(program, request.get("outputs"), binary)
    return Asked(asked_id, examples, outputs, deadline_of(parameters))


def parsed(body: bytes) -> dict[str, Any]:
    """A body that must be a JSON object; raises ServeError 800."""
    try:
        found = parse_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ServeError(800, f"the body is no JSON: {error}", fix="send an object") from error
    if not isinstance(found, dict):
        raise ServeError(800, "the body is no JSON object", fix="send an object")
    return found


def deadline_of(parameters: Mapping[str, Any]) -> float | None:
    """Seconds that a request gives itself, by its `timeout_ms`."""
    asked = parameters.get("timeout_ms")
    if asked is None:
        return None
    if type(asked) not in (int, float) or not 0 < asked < 1e9:
        raise ServeError(800, "timeout_ms is no time", where="timeout_ms", fix="above 0")
    return asked / 1000


def without_binary(asked: Asked) -> Asked:
    """The same request, its answer wanted as JSON."""
    return dataclasses.replace(asked, outputs=tuple((name, False) for name, _ in asked.outputs))


def write_response(
    program: Program, asked: Asked, results: Sequence[Result]
) -> tuple[dict[str, Any], list[bytes]]:
    """The JSON of an answer, and the binary data behind it."""
    outputs, blobs = [], []
    for name, binary in asked.outputs:
        if name == ANSWER:
            said = [json.dumps(one.answer, ensure_ascii=False) for one in results]
            array = np.array(said, object)
        else:
            array = tensors.stacked([np.asarray(one.arrays[name]) for one in results])
            if array.dtype.name == "bfloat16":
                array = array.astype(np.float32)
        datatype = tensors.datatype_of(array.dtype.str) if array.dtype != object else "BYTES"
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if binary:
            blobs.append(tensors.to_bytes(array))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = tensors.to_json(array)
        outputs.append(output)
    answer = {"model_name": program.name, "model_version": VERSION, "outputs": outputs}
    return ({"id": asked.id, **answer} if asked.id is not None else answer), blobs


def _header_length(given: str, most: int) -> int:
    if not given:
        return most
    if not (given.isascii() and given.isdigit()) or int(given[:20]) > most:
        said = "Inference-Header-Content-Length is no length of this body"
        raise ServeError(800, said, fix="the bytes of its JSON")
    return int(given)


def _object(value: Any, where: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ServeError(800, f"{where} is no object", where=where)
    return value or {}


def _examples(
    program: Program, given: list[dict[str, Any]], binary: memoryview, limits: Limits
) -> list[dict[str, Any]]:
    known = input_tensors(program)
    examples: list[dict[str, Any]] | None = None
    seen: set[str] = set()
    for tensor in given:
        name = tensor.get("name")
        if not isinstance(name, str) or name not in known:
            fix = nearest(str(name)[:40], known)
            raise ServeError(801, f"no input '{str(name)[:40]}'", where="inputs", fix=fix)
        if name in seen:
            raise ServeError(801, f"input '{name}' is given twice", where="inputs")
        seen.add(name)
        where = f"input '{name}'"
        shape = tensors.shape_of(tensor.get("shape"), where)
        if shape[0] > limits.max_rows:
            raise ServeError(
                808, f"{shape[0]} items", where=where, fix=f"at most {limits.max_rows}"
            )
        size = tensors.binary_size(_object(tensor.get("parameters"), where), where)
        if size is None:
            array = tensors.from_json(tensor.get("data"), tensor.get("datatype"), shape, where)
        else:
            if size > len(binary):
                raise ServeError(801, f"binary_data_size {size} is beyond the body", where=where)
            array = tensors.from_bytes(binary[:size], tensor.get("datatype"), shape, where)
            binary = binary[size:]
        if examples is None:
            examples = [{} for _ in range(shape[0])]
        if len(examples) != shape[0]:
            said = f"{shape[0]} items, and other inputs have {len(examples)}"
            raise ServeError(801, said, where=where, fix="as many in each")
        _fill(examples, known[name], array, where)
    if len(binary):
        raise ServeError(801, f"{len(binary)} bytes behind the last tensor", where="inputs")
    assert examples is not None
    for example in examples:
        check_present(program, example, "inputs")
    return examples


def _fill(examples: list[dict[str, Any]], tensor: Tensor, array: np.ndarray, where: str) -> None:
    if array.dtype != object:
        values = _numbers(tensor, array, where)
    else:
        if array.size != len(examples):
            said = f"the shape {list(array.shape)}"
            raise ServeError(801, said, where=where, fix=f"[{len(examples)}]: one an item")
        values = [_of_bytes(tensor, one, where) for one in array.reshape(-1)]
    for example, value in zip(examples, values, strict=True):
        if tensor.column is not None:
            example.setdefault(tensor.modality, {})[tensor.column] = value
        elif value is not None:
            example[tensor.modality] = value


def _numbers(tensor: Tensor, array: np.ndarray, where: str) -> list[Any]:
    if tensor.kind in ("text", *(kind for kind in MEDIA if kind != "image")):
        raise ServeError(801, f"numbers for a {tensor.kind}", where=where, fix="datatype BYTES")
    if tensor.kind == "image":
        if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] not in (1, 3, 4):
            fix = "BYTES, or UINT8 [n, h, w, 3]"
            raise ServeError(801, f"{array.dtype} {list(array.shape)}", where=where, fix=fix)
        return list(array)
    if tensor.kind == "table":
        if array.size != len(array):
            raise ServeError(801, f"the shape {list(array.shape)}", where=where, fix="one an item")
        return array.reshape(-1).tolist()
    return [row.tolist() for row in array]


def _of_bytes(tensor: Tensor, value: str | bytes, where: str) -> Any:
    if tensor.kind in MEDIA:
        return (value if isinstance(value, bytes) else decoded(value, where)) or None
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise ServeError(801, "no UTF-8", where=where) from error
    if tensor.kind in ("text", "table"):
        return text
    try:
        return parse_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ServeError(801, "no JSON", where=where, fix=f"a {tensor.kind} as JSON") from error


def _outputs(program: Program, given: Any, binary: bool) -> tuple[tuple[str, bool], ...]:
    known = [*(one.name for one in program.outputs), ANSWER]
    if given is None or given == []:
        return tuple((name, binary) for name in known)
    found: dict[str, bool] = {}
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise ServeError(800, "outputs is no list", where="outputs", fix="a list of names")
    for one in given:
        name = one.get("name")
        if not isinstance(name, str) or name not in known:
            fix = nearest(str(name)[:40], known)
            raise ServeError(801, f"no output '{str(name)[:40]}'", where="outputs", fix=fix)
        if name in found:
            raise ServeError(801, f"output '{name}' is asked for twice", where="outputs")
        found[name] = _object(one.get("parameters"), "outputs").get("binary_data", binary) is True
    return tuple(found.items())
