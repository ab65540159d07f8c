"""Events as cells, as arrays, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import cell_of, columns_of
from mmjax.data.targets.events import Events

TEXT = "Ada met Bob and wrote to Eve"
CELLS = [
    [
        {
            "start": 16,
            "end": 21,
            "type": "write",
            "arguments": [{"start": 25, "end": 28, "role": "to"}, [0, 3, "by"]],
        },
        {"start": 4, "end": 7, "type": "meet", "arguments": [[0, 3, "by"], [8, 11, "with"]]},
    ],
    [],
    json.dumps([{"start": 4, "end": 7, "type": "meet"}]),
]


def _table(cells=CELLS):
    return Table({"events": list(cells), "text": [TEXT] * len(cells)}, "m.jsonl", "f")


@pytest.mark.parametrize("text", [None, "text"])
def test_events_become_rows_of_triggers_and_arguments(text, tmp_path):
    table, settings = _table(), Events("events", text=text, most=7)
    fitted = settings.fit(table, np.arange(3))
    fitted.save(tmp_path)
    loaded = settings.load(tmp_path)
    assert loaded.facts == fitted.facts
    assert loaded.facts == {
        "type_names": ("meet", "write"),
        "role_names": ("by", "to", "with"),
        "type_counts": (2, 1),
        "role_counts": (2, 1, 1),
    }
    columns = columns_of(settings)
    rows = [loaded.encode(cell_of(table, columns, i), Place(table, i)) for i in range(3)]
    batch = loaded.collate([*rows, None])
    assert batch.dtype == np.int32
    none = [-1] * 5
    assert batch[0].tolist() == [
        [4, 7, -1, -1, 0],
        [16, 21, -1, -1, 1],
        [0, 3, 4, 7, 0],
        [0, 3, 16, 21, 0],
        [8, 11, 4, 7, 2],
        [25, 28, 16, 21, 1],
        none,
    ]
    assert batch[2].tolist() == [[4, 7, -1, -1, 0], *[none] * 6]
    assert (batch[[1, 3]] == -1).all()


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (None, "the row has no events"),
        ("x", "are no events"),
        ([[0, 3, "x"]], "are no events"),
        ([{"start": 0, "end": 99, "type": "x"}], "ends at 99"),
        ([{"start": 0, "end": 3, "type": "x", "arguments": [[0, 3]]}], "is no span"),
        ([{"start": 0, "end": 3, "type": "x"}, {"start": 2, "end": 5, "type": "y"}], "share char"),
        ([{"start": 4, "end": 7, "type": "x", "arguments": [[i, i + 1, "r"] for i in range(7)]}],
         "has 8 spans, and there is room for 7"),
    ],
)  # fmt: skip
def test_what_are_no_events_is_refused_by_row(cell, what):
    table, settings = _table([CELLS[0], cell]), Events("events", text="text", most=7)
    with pytest.raises(DataError, match=rf"{what}.*m\.jsonl:1:events"):
        settings.check(cell_of(table, columns_of(settings), 1), Place(table, 1))


def test_types_and_roles_bound_what_is_known():
    table = _table()
    settings = Events("events", types=("meet", "write"), roles=("by",))
    fitted = settings.fit(table, np.arange(3))
    with pytest.raises(DataError, match="unknown role 'with'"):
        fitted.encode(CELLS[0], Place(table, 0))
    with pytest.raises(DataError, match="unknown type of event 'go'"):
        fitted.encode([{"start": 0, "end": 3, "type": "go"}], Place(table, 0))
    with pytest.raises(DataError, match="no event in the training rows"):
        Events("events").fit(table, np.array([1]))
    assert Events("events", missing="none").of(None, Place(table, 0)) == []
    with pytest.raises(ConfigError, match="most = 0"):
        Events("events", most=0)
