"""`POST /v1/predict`: items as people write them, as JSON or as a form with files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import numpy as np
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mmjax.core.errors import nearest
from mmjax.export.program import Program, Result
from mmjax.serve import tensors
from mmjax.serve.config import Limits
from mmjax.serve.errors import ServeError
from mmjax.serve.examples import example_of
from mmjax.serve.protocol import deadline_of, parsed

_KEYS = ("inputs", "instances", "timeout_ms", "stream", "arrays")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Ask:
    """A request, read."""

    examples: list[dict[str, Any]]
    many: bool
    """Whether it has `instances`, so that its answer is a list."""
    deadline_s: float | None = None
    stream: bool = False
    arrays: bool = False
    """Whether all outputs of the model are wanted, not those of the page alone."""


def read_json(program: Program, body: bytes, limits: Limits) -> Ask:
    """`{"inputs": {name: value}}` or `{"instances": [{name: value}, ...]}`, with options.

    Raises ServeError 800, 802 or 808, naming the field.
    """
    request = parsed(body)
    for name in request:
        if name not in _KEYS:
            raise ServeError(800, f"no field '{name[:40]}'", fix=nearest(name, _KEYS))
    if ("inputs" in request) == ("instances" in request):
        raise ServeError(800, "either inputs or instances", fix='{"inputs": {"text": "..."}}')
    flags = {name: request.get(name, False) for name in ("stream", "arrays")}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ServeError(800, f"{name} is not true or false", where=name)
    many = "instances" in request
    given = request["instances"] if many else [request["inputs"]]
    if not isinstance(given, list) or not given:
        raise ServeError(800, "instances is no list of items", where="instances")
    if len(given) > limits.max_rows:
        fix = f"at most {limits.max_rows}"
        raise ServeError(808, f"{len(given)} items", where="instances", fix=fix)
    if flags["stream"] and many:
        raise ServeError(800, "a stream is of one item", where="stream", fix="inputs")
    examples = []
    for index, item in enumerate(given):
        where = f"instances[{index}]" if many else "inputs"
        if not isinstance(item, dict):
            raise ServeError(800, "an item is no object", where=where, fix='{"text": "..."}')
        if len(item) > limits.max_fields:
            raise ServeError(808, f"{len(item)} fields", where=where)
        examples.append(example_of(program, item, where=where))
    return Ask(examples, many, deadline_of(request), **flags)


async def read_form(program: Program, body: bytes, headers: Headers, limits: Limits) -> Ask:
    """A form whose fields are modalities or columns; of a file the bytes are read.

    Raises ServeError 800 or 808.
    """
    parser = MultiPartParser(
        headers,
        _whole(body),
        max_files=limits.max_fields,
        max_fields=limits.max_fields,
        max_part_size=limits.max_body_bytes,
    )
    # The body is in memory already; nothing of it goes to a disk.
    parser.spool_max_size = limits.max_body_bytes
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:
        said = getattr(error, "message", None) or "the form is damaged"
        raise ServeError(800, said, fix="send multipart/form-data") from error
    given: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in given:
            raise ServeError(800, f"'{name[:40]}' is given twice", where="form")
        read = await value.read() if isinstance(value, UploadFile) else _typed(program, name, value)
        given[name] = None if read == b"" else read
    options: dict[str, Any] = {
        name: given.pop(name) for name in ("timeout_ms", "stream", "arrays") if name in given
    }
    deadline = options.get("timeout_ms")
    if isinstance(deadline, str) and _NUMBER.fullmatch(deadline):
        options["timeout_ms"] = float(deadline)
    return Ask(
        [example_of(program, given, where="form")],
        many=False,
        deadline_s=deadline_of(options),
        stream=options.get("stream") == "true",
        arrays=options.get("arrays") == "true",
    )


def said(program: Program, result: Result, ask: Ask) -> dict[str, Any]:
    """What one item is answered: its answer, and the arrays that a person looks at."""
    found: dict[str, Any] = {"answer": result.answer}
    weights = result.arrays.get("modality_weights")
    if weights is not None and weights.shape == (len(program.inputs),):
        names = [one.name for one in program.inputs]
        found["modality_weights"] = dict(zip(names, map(float, weights), strict=True))
    maps = {
        name: {"shape": list(array.shape), "data": tensors.to_json(np.asarray(array))}
        for name, array in result.arrays.items()
        if ask.arrays or name.startswith("attention")
    }
    return {**found, "arrays": maps} if maps else found


def _typed(program: Program, name: str, value: str) -> Any:
    """A field's text; a number where the field is a column of numbers."""
    kinds: Mapping[str, Any] = {c: f for one in program.inputs for c, f in one.fields.items()}
    number = kinds.get(name, {}).get("kind") == "number"
    if name in kinds and not value:
        return None
    return float(value) if number and _NUMBER.fullmatch(value) else value


async def _whole(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
