"""Vectors as targets: from lists and arrays, with rows that have none."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.data.config import targets
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.vector import Vector

CELLS = [None, [1, 2.5], np.array([3.0, -4.0])]


def _table(cells) -> Table:
    return Table({"v": cells}, "m.csv", "f")


def test_vectors_of_a_batch(tmp_path):
    table = _table(CELLS)
    fitted = targets.build("vector", column="v").fit(table, np.arange(3))
    fitted.save(tmp_path)
    loaded = Vector("v").load(tmp_path)
    assert loaded.facts == fitted.facts == {"width": 2}
    rows = [loaded.encode(cell, Place(table, i)) for i, cell in enumerate(CELLS)]
    batch = loaded.collate([*rows, None])
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, [[0, 0], [1, 2.5], [3, -4], [0, 0]])


@pytest.mark.parametrize("cell", ["red", [[1.0, 2.0]], [], [1.0, float("nan")], 3.0])
def test_what_is_no_vector_is_refused(cell):
    table = _table([cell])
    with pytest.raises(DataError, match="MMX-531"):
        Vector("v").check(cell, Place(table, 0))


def test_another_length_is_refused():
    table = _table([*CELLS, [1.0, 2.0, 3.0]])
    fitted = Vector("v").fit(table, np.arange(3))
    with pytest.raises(DataError, match="3 numbers"):
        fitted.encode(table.column("v")[3], Place(table, 3))


def test_a_column_of_nothing_is_refused():
    with pytest.raises(DataError, match="MMX-530"):
        Vector("v").fit(_table([None, None]), np.arange(2))
