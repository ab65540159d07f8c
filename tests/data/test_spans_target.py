"""Named parts of a text: as cells, as arrays, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import cell_of, columns_of
from mmjax.data.targets.spans import Spans

TEXTS = ["Ada flew to New York", "no one", "Bob met Ada"]
CELLS = [
    [{"start": 12, "end": 20, "label": "place", "text": "New York"}, [0, 3, "person"]],
    [],
    json.dumps([{"start": 8, "end": 11, "type": "person"}, {"start": 0, "end": 3, "role": "x"}]),
]


def _table(cells=CELLS, texts=TEXTS) -> Table:
    return Table({"spans": list(cells), "text": list(texts)}, "m.jsonl", "f")


def _encoded(settings, table, fitted=None):
    columns = columns_of(settings)
    fitted = fitted or settings.fit(table, np.arange(len(table)))
    return [fitted.encode(cell_of(table, columns, i), Place(table, i)) for i in range(len(table))]


@pytest.mark.parametrize("text", [None, "text"])
def test_cells_of_every_form_become_padded_rows(text, tmp_path):
    table, settings = _table(), Spans("spans", text=text, most=3)
    fitted = settings.fit(table, np.arange(3))
    assert fitted.facts == {"span_names": ("person", "place", "x"), "span_counts": (2, 1, 1)}
    fitted.save(tmp_path)
    loaded = settings.load(tmp_path)
    assert loaded.facts == fitted.facts
    batch = loaded.collate([*_encoded(settings, table, loaded), None])
    assert batch.dtype == np.int32
    none = [-1, -1, -1]
    assert batch.tolist() == [
        [[0, 3, 0], [12, 20, 1], none],
        [none] * 3,
        [[0, 3, 2], [8, 11, 0], none],
        [none] * 3,
    ]


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (None, "the row has no spans"),
        ("", "the row has no spans"),
        ("[0, 3", "is no span"),
        (7, "is no span"),
        ([[0, 3]], "is no span"),
        ([[3, 3, "x"]], "start 3, end 3, label x are no span"),
        ([[-1, 3, "x"]], "are no span"),
        ([[0, 2.5, "x"]], "are no span"),
        ([[0, True, "x"]], "are no span"),
        ([[0, 3, ""]], "are no span"),
        ([[0, 99, "x"]], "a span ends at 99, and the text has 20 characters"),
        ([{"start": 0, "end": 3, "label": "x", "text": "Bob"}], "says 'Bob', .* has 'Ada' there"),
        ([[0, 3, "x"], [2, 5, "y"]], "share characters"),
        ([[i, i + 1, "x"] for i in range(5)], "has 5 spans, and there is room for 4"),
    ],
)
def test_what_is_no_span_is_refused_by_row(cell, what):
    table = _table([[[0, 1, "a"]], cell], TEXTS[:1] * 2)
    settings = Spans("spans", text="text", most=4)
    with pytest.raises(DataError, match=rf"{what}.*m\.jsonl:1:spans"):
        settings.check(cell_of(table, columns_of(settings), 1), Place(table, 1))


def test_spans_that_share_characters_by_rule():
    cell = [[0, 8, "long"], [4, 8, "tail"], [6, 12, "over"], [9, 12, "after"]]
    table = _table([cell], TEXTS[:1])
    place = Place(table, 0)
    of = lambda rule: [s.label for s in Spans("spans", overlaps=rule).of(cell, place)]  # noqa: E731
    assert of("longest") == ["long", "after"]
    assert of("keep") == ["long", "tail", "over", "after"]


def test_names_that_are_given_bound_what_is_known():
    table = _table()
    settings = Spans("spans", names=("place", "person"))
    fitted = settings.fit(table, np.arange(2))
    assert fitted.facts["span_counts"] == (1, 1)
    with pytest.raises(DataError, match=r"unknown label 'x'.*m\.jsonl:2:spans"):
        _encoded(settings, table, fitted)


def test_an_empty_cell_may_mean_none():
    table = _table([*CELLS[:1], None], TEXTS[:2])
    assert len(_encoded(Spans("spans", missing="none"), table)[1]) == 0
    with pytest.raises(DataError, match="no span in the training rows"):
        Spans("spans", missing="none").fit(table, np.array([1]))
    with pytest.raises(ConfigError, match="most = 0"):
        Spans("spans", most=0)
