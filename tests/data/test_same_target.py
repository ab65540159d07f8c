"""A number that rows of one thing share."""

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, targets
from mmjax.data.modalities.base import Place
from mmjax.data.pipeline import prepare
from mmjax.data.table import Table
from mmjax.data.targets.same import Same

CELLS = ["a.png", "b.png", "a.png ", 7, "7", 7.0, "é", "e\u0301"]


def test_equal_cells_have_one_number(tmp_path):
    table = Table({"v": CELLS}, "m.csv", "f")
    fitted = targets.build("same", column="v").fit(table, np.arange(2))
    fitted.save(tmp_path)
    loaded = Same("v").load(tmp_path)
    found = loaded.collate([loaded.encode(c, Place(table, i)) for i, c in enumerate(CELLS)])
    assert found.dtype == np.int32
    same = found[:, None] == found
    names = np.array(["a", "b", "a", "7", "7", "7", "e", "e"])
    np.testing.assert_array_equal(same, names[:, None] == names)
    np.testing.assert_array_equal(loaded.collate([None, int(found[0])]), [0, found[0]])


def test_numbers_of_different_cells_differ():
    table = Table({"v": []}, "m.csv", "f")
    fitted = Same("v").fit(table, np.arange(0))
    found = {fitted.encode(f"image/{i}.jpg", Place(table, 0)) for i in range(2000)}
    assert len(found) == 2000
    assert min(found) < 0 < max(found)


@pytest.mark.parametrize("cell", [None, "", " "])
def test_a_cell_of_nothing_is_refused(cell):
    table = Table({"v": [cell]}, "m.csv", "f")
    with pytest.raises(DataError, match=r"MMX-530.*m\.csv"):
        Same("v").check(cell, Place(table, 0))


def test_splits_keep_the_rows_of_a_thing_together():
    """And are not stratified by it, as if each thing were a class."""
    rows = np.arange(120)
    words = [f"word {row}" for row in rows]
    of = [f"{row // 2}.png" for row in rows]
    text = Spec("text", column="words", tokenizer="subwords", max_length=8, buckets=16)
    config = DataConfig(
        source=Spec("frame"),
        modalities={"text": text},
        targets={"thing": Spec("same", column="of")},
    )
    splits = prepare(config, frame={"words": words, "of": of}).splits
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 96,
        "validation": 12,
        "test": 12,
    }
    things = [set(found // 2) for found in splits.values()]
    assert sum(map(len, things)) == len(set.union(*things)) == 60
