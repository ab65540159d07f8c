"""What the OpenAPI document says of bodies."""

from __future__ import annotations

from typing import Any

from mmjax.export.program import Input, Program
from mmjax.serve import protocol
from mmjax.serve.examples import MEDIA
from mmjax.serve.tensors import DTYPES

_NAME = {"type": "string", "minLength": 1}
_ITEM = {"$ref": "#/components/schemas/Item"}
_INPUT_NAME = {"$ref": "#/components/schemas/InputName"}
_PARAMETERS = {"type": ["object", "null"], "description": "binary_data_size and others"}
_DATATYPE = {"type": "string", "enum": ["BYTES", *DTYPES]}

PROBLEM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "one line"},
        "code": {"type": "string", "pattern": "^MMX-[0-9]{3}$"},
    },
    "required": ["error", "code"],
}

INFER: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["inputs"],
    "properties": {
        "id": {"type": ["string", "null"]},
        "parameters": {
            "type": ["object", "null"],
            "properties": {
                "timeout_ms": {"type": ["number", "null"], "exclusiveMinimum": 0},
                "binary_data_output": {"type": "boolean"},
            },
        },
        "inputs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": _INPUT_NAME,
                    "shape": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "integer", "minimum": 1},
                    },
                    "datatype": _DATATYPE,
                    "parameters": _PARAMETERS,
                    "data": {"type": "array", "description": "row by row, flat or nested"},
                },
            },
        },
        "outputs": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": _NAME, "parameters": _PARAMETERS},
            },
        },
    },
}

INFERRED: dict[str, Any] = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "id": {"type": "string"},
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype"],
                "properties": {
                    "name": _NAME,
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "datatype": _DATATYPE,
                    "parameters": _PARAMETERS,
                    "data": {"type": "array"},
                },
            },
        },
    },
}

PREDICT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "inputs": _ITEM,
        "instances": {"type": "array", "minItems": 1, "items": _ITEM},
        "timeout_ms": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "stream": {"type": "boolean", "description": "server-sent events, as text is written"},
        "arrays": {"type": "boolean", "description": "every output of the model"},
    },
    "oneOf": [{"required": ["inputs"]}, {"required": ["instances"]}],
}

FORM: dict[str, Any] = {
    "type": "object",
    "description": "fields by modality or column; files by their bytes",
}

_SAID = {
    "type": "object",
    "required": ["answer"],
    "properties": {
        "answer": {"type": "object"},
        "modality_weights": {"type": "object", "additionalProperties": {"type": "number"}},
        "arrays": {"type": "object"},
    },
}

PREDICTED: dict[str, Any] = {
    "type": "object",
    "required": ["model", "request_id"],
    "properties": {
        "model": {"type": "string"},
        "request_id": {"type": "string"},
        "prediction": _SAID,
        "predictions": {"type": "array", "items": {"anyOf": [_SAID, PROBLEM]}},
    },
    "oneOf": [{"required": ["prediction"]}, {"required": ["predictions"]}],
}

METADATA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "versions", "platform", "inputs", "outputs"],
    "properties": {
        "name": {"type": "string"},
        "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        "inputs": {"type": "array"},
        "outputs": {"type": "array"},
        "parameters": {"type": "object"},
    },
}

_WORDS = {
    200: "the answer",
    400: "a body or tensor that is not what it says",
    401: "no token, or a wrong one",
    403: "another site's page, or an answer that is withheld",
    404: "no such model, version or path",
    405: "no such method",
    408: "the body came too slowly",
    413: "too large",
    415: "a content type or a format that is not read",
    422: "an item that cannot be read",
    429: "the queue is full",
    500: "the model failed",
    503: "loading or stopping",
    504: "the deadline has passed",
}


def responses(*statuses: int, ok: dict[str, Any] | None = None) -> dict[int | str, Any]:
    """What a path answers, for its `responses`; errors have one form."""
    found: dict[int | str, Any] = {}
    if ok is not None:
        found[200] = {"description": _WORDS[200], "content": {"application/json": {"schema": ok}}}
    for status in sorted({400, 401, 403, *statuses}):
        content = {"application/json": {"schema": PROBLEM}}
        found[status] = {"description": _WORDS[status], "content": content}
    return found


def body(**by_type: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a path: the schemas of its body by content type."""
    content = {name.replace("_", "/", 1): {"schema": schema} for name, schema in by_type.items()}
    return {"requestBody": {"required": True, "content": content}}


def of_program(document: dict[str, Any], program: Program | None) -> None:
    """Puts into an OpenAPI document what depends on the model: its name, and what an item has."""
    item: dict[str, Any] = {
        "type": "object",
        "description": "values by modality or column; a file is base64, a data: address, "
        '{"base64": "..."}, or {"url": "https://..."} for a picture from an allowed host',
        "minProperties": 1,
    }
    names: dict[str, dict[str, Any]] = {
        name: {**_NAME} for name in ("Model", "Version", "InputName")
    }
    if program is not None:
        item["properties"] = {one.name: _value(one) for one in program.inputs}
        item["required"] = [one.name for one in program.inputs if one.required]
        names["Model"]["enum"] = [program.name]
        names["Version"]["enum"] = [protocol.VERSION]
        names["InputName"]["enum"] = list(protocol.input_tensors(program))
    document["components"] = {"schemas": {"Item": item, **names}}
    for methods in document["paths"].values():
        for method in methods.values():
            for parameter in method.get("parameters", []):
                name = {"model": "Model", "version": "Version"}[parameter["name"]]
                parameter["schema"] = {"$ref": f"#/components/schemas/{name}"}


def _value(one: Input) -> dict[str, Any]:
    said = {"description": one.takes}
    if one.kind in MEDIA:
        text = {"type": "string", "contentEncoding": "base64"}
        inner = {"type": "object", "properties": {"base64": text}, "required": ["base64"]}
        return {"anyOf": [text, inner, {"type": "null"}], **said}
    if one.kind == "table":
        kinds = {column: one.fields.get(column, {}).get("kind") for column in one.columns}
        cells = {
            column: {"type": ["number", "null"] if kind == "number" else ["string", "null"]}
            for column, kind in kinds.items()
        }
        return {"type": ["object", "null"], "properties": cells, "additionalProperties": False}
    return {"type": ["string", "null"], **said} if one.kind == "text" else said
