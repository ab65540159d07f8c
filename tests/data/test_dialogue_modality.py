"""Utterances around an utterance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import modalities
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table

# Two dialogues that take turns in the table; the second is not in order, and has a silent turn.
COLUMNS = {
    "text": ["a one", "b three", "a two", "b one", None, "a three", "alone", "lost"],
    "talk": ["a", "b", "a", "b", "b", "a", "c", None],
    "turn": ["1", 3, 2, 1, 2, 3.0, 1, None],
}
TABLE = Table(COLUMNS, "talks", "1")


def build(**options):
    given = {"column": "text", "dialogue": "talk", "turn": "turn", "tokenizer": "subwords"}
    return modalities.build("dialogue", **given | options)


def said(modality, row, table=TABLE, fits=lambda text: True):
    return modality.context(Place(table, row), fits)


def test_neighbours_are_of_the_same_dialogue_in_its_order():
    before = build(before=2)
    assert [said(before, row) for row in range(8)] == [
        None,
        "b one",  # the silent turn is passed over
        "a one",
        None,
        "b one",
        "a one a two",
        None,
        None,
    ]
    both = build(before=1, after=1, between=" | ")
    assert said(both, 2) == "a one | a three"
    assert said(both, 3) == "b three"
    by_row = build(turn=None, before=5)
    assert said(by_row, 3) == "b three"
    assert by_row.reads() == ("text", "talk")


def test_the_farthest_go_first():
    before = build(before=3)
    assert said(before, 5, fits=lambda text: len(text) < 6) == "a two"
    assert said(before, 5, fits=lambda text: False) == "a two"


def test_rows_become_tokens():
    settings = build(before=2, max_length=40, lengths=(20,), ngrams=(0, 0), buckets=0)
    rows = np.arange(7)
    processor = settings.fit(TABLE, rows)
    cells = {name: values[5] for name, values in COLUMNS.items()}
    example = processor.example(cells, Place(TABLE, 5), None)
    assert len(example["input_ids"]) == 4
    assert processor.lengths(TABLE, rows).tolist() == [0, 2, 2, 0, 2, 4, 0]
    batch = processor.collate([None, example], 20)
    assert batch["attention_mask"].sum(axis=1).tolist() == [0, 4]
    assert settings.check(cells, Place(TABLE, 5))
    assert not settings.check(
        {name: values[6] for name, values in COLUMNS.items()}, Place(TABLE, 6)
    )
    one = Table({"text": ["hello"], "talk": [None], "turn": [None]}, "one", "2")
    assert processor.example(one.row(0), Place(one, 0), None) is None


def test_what_is_refused():
    with pytest.raises(ConfigError, match="before = 0"):
        build(before=0)
    with pytest.raises(ConfigError, match="offsets = True"):
        build(offsets=True, tokenizer="wordpiece")
    lazy = dataclasses.replace(TABLE, lazy=True)
    with pytest.raises(ConfigError, match="row by row"):
        said(build(), 0, lazy)
    odd = Table({**COLUMNS, "turn": ["x"] * 8}, "talks", "3")
    with pytest.raises(DataError, match=r"MMX-531.*talks:0:turn"):
        build().check(odd.row(0), Place(odd, 0))
