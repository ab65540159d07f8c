"""Files of points: PLY, and text with a point a line."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmjax.core.typing import Float
from mmjax.data.numbers import parse_number

PLY = b"ply"
"""What a PLY file begins with."""

_LONGEST_HEADER = 2**16
_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_SPLIT = re.compile(r"[,;]|\s+")


class Points(NamedTuple):
    """`values` [n c], and what the columns are called if the file says so."""

    values: Float[np.ndarray, "n c"]
    names: tuple[str, ...] = ()


class _Element(NamedTuple):
    name: str
    size: int
    properties: list[tuple[str, str]]
    has_lists: bool


def is_ply(content: bytes) -> bool:
    """Whether a file begins like PLY."""
    return content.split(b"\n", 1)[0].strip() == PLY


def read_ply(content: bytes, most: int) -> Points:
    """The vertices of a PLY file, text or binary: all their properties that are single numbers.

    Raises ValueError for damage, a file without vertices, and more than `most`.
    """
    end = re.search(rb"end_header[ \t]*\r?\n", content[:_LONGEST_HEADER])
    if end is None:
        raise ValueError("its header has no end")
    order, elements = _header(content[: end.start()].decode("ascii"))
    rest = content[end.end() :]
    for element in elements:
        if element.name != "vertex":
            rest = _after(element, order, rest)
            continue
        if not 0 < element.size <= most:
            raise ValueError(f"{element.size} points, expected 1 to {most}")
        if element.has_lists:
            raise ValueError("its vertices have lists")
        return _vertices(element, order, rest)
    raise ValueError("it has no vertices")


def _header(text: str) -> tuple[str, list[_Element]]:
    order = ""
    elements: list[_Element] = []
    for words in map(str.split, text.splitlines()[1:]):
        match words:
            case ["format", name, _] if name in _ORDERS:
                order = _ORDERS[name]
            case ["element", name, count]:
                elements.append(_Element(name, int(count), [], False))
            case ["property", "list", _, _, _] if elements:
                elements[-1] = elements[-1]._replace(has_lists=True)
            case ["property", type_, name] if elements and type_ in _TYPES:
                elements[-1].properties.append((name, _TYPES[type_]))
            case [] | ["comment", *_] | ["obj_info", *_]:
                continue
            case _:
                raise ValueError(f"its header says '{' '.join(words)[:60]}'")
    if not order:
        raise ValueError("its header has no format")
    return order, elements


def _after(element: _Element, order: str, content: bytes) -> bytes:
    """What follows an element that stands before the vertices."""
    if order == "=":
        return b"\n".join(content.split(b"\n", element.size)[element.size :])
    if element.has_lists:
        raise ValueError(f"lists of '{element.name}' stand before its vertices")
    return content[element.size * _record(element, order).itemsize :]


def _record(element: _Element, order: str) -> np.dtype:
    return np.dtype([(name, order + type_) for name, type_ in element.properties])


def _vertices(element: _Element, order: str, content: bytes) -> Points:
    names = tuple(name for name, _ in element.properties)
    if not names:
        raise ValueError("its vertices have no properties")
    if order == "=":
        lines = content.split(b"\n", element.size)[: element.size]
        values = np.loadtxt(lines, np.float64, ndmin=2, usecols=range(len(names)))
        if len(values) != element.size:
            raise ValueError(f"{len(values)} points, and its header says {element.size}")
        return Points(values, names)
    record = _record(element, order)
    if len(content) < element.size * record.itemsize:
        raise ValueError(f"it is cut off: its header says {element.size} points")
    found = np.frombuffer(content, record, element.size)
    return Points(np.stack([found[name].astype(np.float64) for name in names], 1), names)


def read_text(content: bytes, most: int) -> Points:
    """Points of text, such as `.xyz` and `.csv`: numbers parted by blanks, commas or semicolons.

    A first line without a number names the columns; `#` begins a comment. Raises ValueError for
    what is not UTF-8, lines that are no numbers or not as many, none, and more than `most`.
    """
    text = content.decode("utf-8-sig")
    lines = [line for line in io.StringIO(text) if line.split("#", 1)[0].strip()]
    if not 0 < len(lines) <= most + 1:
        raise ValueError(f"{len(lines)} lines, expected 1 to {most}")
    first = lines[0].split("#", 1)[0].strip()
    delimiter = next((mark for mark in ",;" if mark in first), None)
    words = [word.strip() for word in _SPLIT.split(first)]
    names: Sequence[str] = ()
    if all(parse_number(word) is None for word in words):
        names, lines = words, lines[1:]
    if not lines:
        raise ValueError("it has no points")
    values = np.loadtxt(lines, np.float64, delimiter=delimiter, ndmin=2, encoding="utf-8")
    if names and len(names) != values.shape[1]:
        raise ValueError(f"{values.shape[1]} numbers a line, and {len(names)} names")
    return Points(values, tuple(names))
