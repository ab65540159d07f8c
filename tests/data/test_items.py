"""Histories and chosen items of a catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.items import Items
from mmjax.data.table import Table
from mmjax.data.targets.item import Item


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "films.csv"
    lines = [f"{i},{'' if i == 2 else f'film {i}'},{1990 + i}" for i in range(1, 11)]
    path.write_text("\n".join(["film,title,year", *lines, "3,again,2000"]) + "\n")
    return Spec("csv", path=str(path))


def _table(**columns):
    return Table(columns, "rows", "")


def test_a_history_is_its_last_items_and_all_that_was_seen(films, tmp_path):
    modality = Items("watched", films, "film", max_length=3)
    cells = [["1", "2", "3", "10"], [7.0, 8], None, ["99"], [" 5 ", "99", "5"]]
    table = _table(watched=cells)
    processor = modality.fit(table, np.arange(5))
    processor.save(tmp_path)
    for one in (processor, modality.load(tmp_path)):
        made = [one.example({"watched": c}, Place(table, i)) for i, c in enumerate(cells)]
        fields = one.collate(made)
        assert one.facts == {"num_items": 10, "max_length": 3}
        assert fields["item_ids"].tolist() == [
            [2, 3, 10], [7, 8, 0], [0, 0, 0], [0, 0, 0], [5, 5, 0]
        ]  # fmt: skip
        np.testing.assert_array_equal(fields["attention_mask"], fields["item_ids"] > 0)
        seen = np.unpackbits(fields["seen"], axis=1)[:, :10]
        assert [np.flatnonzero(row).tolist() for row in seen] == [[0, 1, 2, 9], [6, 7], [], [], [4]]
        assert [example is None for example in made] == [False, False, True, True, False]


def test_keys_are_split_where_a_separator_is_set(films):
    modality = Items("watched", films, "film", separator="|")
    table = _table(watched=["1| 2"])
    assert modality.of("1| 2", Place(table, 0)) == ["1", "2"]
    assert modality.check({"watched": "1"}, Place(table, 0))
    assert not modality.check({"watched": ""}, Place(table, 0))
    with pytest.raises(DataError, match="no list of items"):
        modality.check({"watched": {"a": 1}}, Place(table, 0))
    with pytest.raises(ConfigError, match="max_length"):
        Items("watched", films, "film", max_length=0)


def test_the_target_counts_its_items_and_carries_what_describes_them(films, tmp_path):
    target = Item(
        "film",
        films,
        "film",
        most=2,
        modalities={
            "title": Spec("text", column="title", tokenizer="subwords", buckets=16, max_length=12),
            "about": Spec("table", numbers=("year",)),
        },
    )
    table = _table(film=["1", ["2", "1"], "4", "5"])
    processor = target.fit(table, np.arange(3))
    assert processor.facts["item_counts"] == (2, 1, 0, 1, 0, 0, 0, 0, 0, 0)
    years = np.array([1991, 1992, 1994])  # those of the training rows
    expected = (np.arange(1991, 2001) - years.mean()) / years.std()
    np.testing.assert_allclose(processor.constants["about"]["numbers"][:, 0], expected, rtol=1e-5)
    assert processor.constants["title"]["present"].tolist() == [i != 2 for i in range(1, 11)]
    processor.save(tmp_path)
    loaded = target.load(tmp_path)
    assert loaded.facts == processor.facts
    for name, fields in processor.constants.items():
        for field, array in fields.items():
            np.testing.assert_array_equal(loaded.constants[name][field], array)
    place = Place(table, 0)
    values = [loaded.encode(cell, place) for cell in (3, ["10", "1"])]
    assert loaded.collate([*values, None]).tolist() == [[2, -1], [9, 0], [-1, -1]]


@pytest.mark.parametrize(
    ("cell", "words"),
    [(None, "0 items"), ([], "0 items"), (["1", "2", "3"], "most=3"), ("77", "no item '77'")],
)
def test_rows_that_choose_nothing_known_are_refused(films, cell, words):
    table = _table(film=["1"])
    target = Item("film", films, "film", most=2)
    with pytest.raises(DataError, match=words):
        target.fit(table, np.arange(1)).encode(cell, Place(table, 0))


def test_a_catalogue_needs_keys(tmp_path):
    path = tmp_path / "films.csv"
    path.write_text("film,title\n,a\n")
    with pytest.raises(DataError, match="no item has a key"):
        Items("watched", Spec("csv", path=str(path)), "film").fit(_table(watched=[]), np.arange(0))
