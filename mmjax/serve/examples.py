"""Raw items from what clients send: names are checked, base64 is read, nothing is decoded yet."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from mmjax.core.errors import nearest
from mmjax.export.program import Example, Input, Program
from mmjax.serve.errors import ServeError

MEDIA = ("image", "audio", "video", "volume", "points")
"""Kinds whose raw value is the bytes of a file."""

_MOST_SHOWN = 40


class Url(str):
    """An address in the place of a file's bytes, to be fetched where that is allowed."""


def example_of(program: Program, given: Mapping[str, Any], *, where: str = "") -> dict[str, Any]:
    """One raw item from values by modality, by column, or by kind where only one has it.

    A file is base64, a `data:` address, `{"base64": ...}` or `{"url": ...}`. Raises ServeError for
    names that nothing reads, a required modality that is not there, and values of a wrong type.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        owner, column = _owner(program, name, where)
        if value is None:
            continue
        if column is None:
            if owner.name in found:
                raise ServeError(800, f"'{owner.name}' is given twice", where=where)
            found[owner.name] = _value(owner, value, f"{where} {owner.name}".strip())
        elif owner.kind == "table":
            row = found.setdefault(owner.name, {})
            row[column] = _plain(value, f"{where} {column}".strip())
        else:
            found[column] = _value(owner, value, f"{where} {column}".strip())
    check_present(program, found, where)
    return found


def check_present(program: Program, example: Example, where: str) -> None:
    """Raises ServeError if a required modality, or all of them, are missing."""
    for one in program.inputs:
        if one.required and not any(name in example for name in (one.name, *one.columns)):
            raise ServeError(800, f"'{one.name}' is missing", where=where, fix=one.takes)
    if not example:
        names = ", ".join(one.name for one in program.inputs)
        raise ServeError(800, "an item without any input", where=where, fix=f"give {names}")


def _owner(program: Program, name: str, where: str) -> tuple[Input, str | None]:
    """The modality that a name means, and the column of it if the name is a column's."""
    by_name = {one.name: one for one in program.inputs}
    if name in by_name:
        return by_name[name], None
    for one in program.inputs:
        if name in one.columns:
            return one, name if len(one.columns) > 1 or one.kind == "table" else None
    of_kind = [one for one in program.inputs if one.kind == name]
    if len(of_kind) == 1:
        return of_kind[0], None
    columns = [c for one in program.inputs for c in one.columns if len(one.columns) > 1]
    raise ServeError(
        800,
        f"no input '{name[:_MOST_SHOWN]}'",
        where=where,
        fix=nearest(name, [*by_name, *columns]),
    )


def _value(owner: Input, value: Any, where: str) -> Any:
    if owner.kind in MEDIA:
        return _file(value, where, owner)
    if owner.kind == "table":
        if not isinstance(value, Mapping):
            raise ServeError(800, "a table is an object of columns", where=where, fix=owner.takes)
        for column in value:
            if column not in owner.columns and column not in owner.fields:
                fix = nearest(column, owner.columns)
                raise ServeError(800, f"no column '{column[:_MOST_SHOWN]}'", where=where, fix=fix)
    elif owner.kind == "text" and not isinstance(value, str):
        raise ServeError(800, f"{_type(value)} is no text", where=where, fix="give a string")
    return _plain(value, where)


def _file(value: Any, where: str, owner: Input) -> bytes | Url:
    if isinstance(value, bytes):
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        if isinstance(value.get("url"), str) and owner.kind == "image":
            return Url(value["url"])
        value = value.get("base64", value)
    if not isinstance(value, str):
        fix = 'give base64, or {"base64": ...}'
        raise ServeError(800, f"{_type(value)} is no file", where=where, fix=fix)
    if value.startswith("data:"):
        value = value.partition(",")[2]
    return decoded(value, where)


def decoded(text: str, where: str) -> bytes:
    """The bytes of base64; raises ServeError 802."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ServeError(802, "no base64", where=where, fix="encode the file's bytes") from error


def _plain(value: Any, where: str) -> Any:
    """The value, if all its numbers are finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ServeError(800, f"{value} is no finite number", where=where)
    if isinstance(value, Mapping):
        return {name: _plain(one, f"{where} {name[:_MOST_SHOWN]}") for name, one in value.items()}
    return [_plain(one, where) for one in value] if isinstance(value, list) else value


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", str: "a string"}
    return names.get(type(value), "a number")
