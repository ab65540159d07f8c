"""Error codes: each in the range of its class, and one class a code."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict

import pytest
from package_files import nodes, place

from mmjax.core import errors

RANGES = {
    "ConfigError": range(100, 200),
    "DataError": range(200, 600),
    "CheckpointError": range(600, 650),
    "WeightsError": range(650, 700),
    "NumericError": range(700, 800),
    "Preempted": range(700, 800),
}
"""`TransientError` is any of them that a retry may cure."""

ROOM_OF_CODES = {4: {"data"}, 6: {"checkpoint", "pretrained", "train", "export", "api"}}
"""Hundreds that belong to few rooms."""


def raised() -> dict[int, list[tuple[str, str]]]:
    """`{code: [(class, place), ...]}` of every error made with a literal code."""
    found = defaultdict(list)
    classes = {name: name for name in (*RANGES, "TransientError", "MMJaxError")}
    for _, node in nodes():
        if isinstance(node, ast.ClassDef):
            bases = [base.id for base in node.bases if getattr(base, "id", "") in classes]
            classes |= {node.name: classes[bases[0]]} if bases else {}
    for path, node in nodes():
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name not in classes:
            continue
        # `DataError(202 if many else 203, ...)` has two codes.
        for part in ast.walk(node.args[0]):
            if isinstance(part, ast.Constant) and type(part.value) is int:
                found[part.value].append((classes[name], place(path, node)))
    return dict(found)


def test_every_error_class_has_a_range():
    classes = {
        name
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.MMJaxError)
    }
    assert classes == {*RANGES, "TransientError", "MMJaxError"}


def test_codes_are_in_the_range_of_their_class():
    wrong = [
        f"{where}: {name}({code}, ...), expected {RANGES[name].start} to {RANGES[name].stop - 1}"
        for code, uses in raised().items()
        for name, where in uses
        if name in RANGES and code not in RANGES[name]
    ]
    assert not wrong, "\n".join(["", *wrong])


def test_a_code_means_one_class_of_error():
    wrong = {
        code: uses
        for code, uses in raised().items()
        if len({name for name, _ in uses} - {"TransientError"}) > 1
    }
    assert not wrong


def test_hundreds_stay_in_their_rooms():
    wrong = [
        f"{where}: code {code} belongs to {sorted(ROOM_OF_CODES[code // 100])}"
        for code, uses in raised().items()
        if code // 100 in ROOM_OF_CODES
        for _, where in uses
        if where.split("/")[1] not in ROOM_OF_CODES[code // 100]
    ]
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize("name", [*RANGES, "TransientError"])
def test_an_error_is_one_line_with_its_code(name):
    cls = getattr(errors, name)
    told = str(cls(612, "a\nb", where="c", fix="d"))
    assert told == "mmjax error MMX-612: a b | where: c | fix: d"
    assert cls.exit_code in (2, 3, 42, 75)
