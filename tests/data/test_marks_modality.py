"""Parts of a text that are given with it."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.marks import Marks
from mmjax.data.table import Table

CELLS = [
    {"head": [0, 3], "tail": {"start": 8, "end": 11}},
    [[8, 11, "head"], [0, 3, "tail"]],
    '[{"start": 0, "end": 3, "label": "tail"}, {"start": 4, "end": 7, "label": "head"}]',
    None,
]


def _table(cells):
    return Table({"marks": list(cells), "text": ["Bob met Ada"] * len(cells)}, "m.jsonl", "f")


def test_marks_of_every_form(tmp_path):
    table, settings = _table(CELLS), Marks("marks", text="text")
    fitted = settings.fit(table, np.arange(4))
    fitted.save(tmp_path)
    loaded = settings.load(tmp_path)
    assert loaded.facts == fitted.facts == {"mark_names": ("head", "tail")}
    examples = [loaded.example(table.row(i), Place(table, i), None) for i in range(4)]
    found = loaded.collate(examples)["marks"]
    assert found.dtype == np.int32
    assert found.tolist() == [
        [[0, 3], [8, 11]],
        [[8, 11], [0, 3]],
        [[4, 7], [0, 3]],
        [[-1, -1], [-1, -1]],
    ]
    present = [settings.check(table.row(i), Place(table, i)) for i in range(4)]
    assert present == [True, True, True, False]


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ([[0, 3, "head"]], "no 'tail' is marked"),
        ([[0, 3, "head"], [4, 7, "head"]], "'head' is marked twice"),
        ([[0, 3, "had"]], "unknown mark 'had'.*did you mean 'head'"),
        ({"head": 3}, "is no span"),
        ({"head": [0, 3], "tail": [8, 99]}, "ends at 99"),
    ],
)
def test_what_marks_nothing_is_refused(cell, what):
    table = _table([cell])
    with pytest.raises(DataError, match=what):
        Marks("marks", text="text").check(table.row(0), Place(table, 0))


def test_names_are_distinct():
    with pytest.raises(ConfigError, match="names"):
        Marks("marks", names=("head", "head"))
