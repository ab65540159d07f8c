"""Numbers as targets: of one column, of several, and of lists, with some that are missing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from mmjax.core.errors import DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, targets
from mmjax.data.modalities.base import Place
from mmjax.data.pipeline import prepare
from mmjax.data.table import Table
from mmjax.data.targets.base import cell_of, columns_of
from mmjax.data.targets.number import Number

PRICES = ["3.5", 1, -2, 1e9 + 1, np.float32(7), " 4e0 "]


def _table(**columns) -> Table:
    return Table(columns, "m.csv", "f")


def _encoded(target, table, taught=None):
    rows = np.arange(len(table) if taught is None else taught)
    fitted = target.fit(table, rows)
    cells = [cell_of(table, columns_of(target), row) for row in range(len(table))]
    return fitted, [fitted.encode(cell, Place(table, row)) for row, cell in enumerate(cells)]


def test_standardised_as_scikit_learn_does(tmp_path):
    table = _table(price=PRICES, size=[1, 2, 3, 4, 5, 6])
    target = targets.build("number", column="price", also=("size",))
    fitted, rows = _encoded(target, table, taught=4)
    numbers = np.array([[float(p) for p in PRICES], range(1, 7)], np.float64).T
    scaler = StandardScaler().fit(numbers[:4])
    np.testing.assert_allclose(np.stack(rows), scaler.transform(numbers), rtol=1e-6)
    assert fitted.facts["target_names"] == ("price", "size")
    np.testing.assert_allclose(fitted.facts["target_means"], scaler.mean_)
    np.testing.assert_allclose(fitted.facts["target_deviations"], scaler.scale_)
    fitted.save(tmp_path)
    loaded = Number("price", also=("size",)).load(tmp_path)
    assert loaded.facts == fitted.facts
    batch = loaded.collate([rows[0], None])
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, [rows[0], [0, 0]])


def test_a_small_spread_around_a_large_mean_is_kept():
    _, rows = _encoded(Number("t"), _table(t=[1.7e9, 1.7e9 + 1, 1.7e9 + 2]))
    np.testing.assert_allclose(np.stack(rows)[:, 0], np.array([-1, 0, 1]) * np.sqrt(1.5), rtol=1e-6)


def test_lists_in_one_column_and_numbers_as_they_are():
    fitted, rows = _encoded(Number("xy", scale="none"), _table(xy=[[1, 2.5], [3, -1]]))
    assert fitted.facts["target_names"] == ("xy_0", "xy_1")
    np.testing.assert_array_equal(rows, [[1, 2.5], [3, -1]])
    table = _table(xy=[[1, 2], [1]])
    with pytest.raises(DataError, match=r"MMX-531.*1 numbers, where.*2.*m\.csv:1:xy"):
        Number("xy").fit(table, np.arange(2))
    with pytest.raises(DataError, match="1 numbers"):
        fitted.encode([1], Place(table, 1))


def test_a_constant_keeps_its_units():
    fitted, rows = _encoded(Number("t"), _table(t=[0.1, 0.1, 0.1, 0.3]), taught=3)
    assert fitted.facts["target_deviations"] == (1.0,)
    np.testing.assert_allclose(np.stack(rows)[:, 0], [0, 0, 0, 0.2], atol=1e-7)


def test_missing_numbers_are_refused_by_name_or_masked():
    table = _table(a=[1.0, None, 3.0, None], b=[10.0, 20.0, None, ""])
    strict = Number("a", also=("b",))
    for row, column in ((1, "a"), (2, "b")):
        with pytest.raises(DataError, match=rf"MMX-530.*no number.*m\.csv:{row}:{column}"):
            strict.check(cell_of(table, ("a", "b"), row), Place(table, row))
    masked = Number("a", also=("b",), missing="mask")
    fitted = masked.fit(table, np.arange(3))
    assert fitted.facts["target_means"] == (2.0, 15.0)
    rows = [fitted.encode(cell_of(table, ("a", "b"), i), Place(table, i)) for i in range(3)]
    np.testing.assert_allclose(rows, [[-1, -1], [np.nan, 1], [1, np.nan]])
    with pytest.raises(DataError, match=r"MMX-530.*m\.csv:3:a"):
        masked.check(cell_of(table, ("a", "b"), 3), Place(table, 3))
    with pytest.raises(DataError, match=r"MMX-532.*'b' has no number"):
        masked.fit(table, np.array([2]))


@pytest.mark.parametrize("cell", ["red", "1,5", True, float("inf"), [1.0, "x"], "nan"])
def test_what_is_no_number_is_refused(cell):
    with pytest.raises(DataError, match="MMX-531"):
        Number("t").check(cell, Place(_table(t=[cell]), 0))


def test_batches_hold_several_columns_and_rows_without_are_left_out():
    table = {
        "words": [f"word {i}" for i in range(10)],
        "a": [float(i) for i in range(10)],
        "b": [2.0 * i for i in range(9)] + ["?"],
    }
    config = DataConfig(
        source=Spec("frame"),
        modalities={"text": Spec("text", column="words", tokenizer="subwords", buckets=8)},
        targets={"label": Spec("number", column="a", also=("b",), scale="none")},
        batch_size=4,
        threads=1,
    )
    with pytest.raises(DataError, match="'\\?' is no number"):
        prepare(config, frame=table)
    table["b"][9] = 18.0
    dataset = prepare(config, frame=table)
    with dataset.loader("all", train=False) as loader:
        batches = list(loader)
    assert [batch.targets["label"].shape for batch in batches] == [(4, 2)] * 3
    found = np.concatenate([b.targets["label"][np.asarray(b.row_mask)] for b in batches])
    np.testing.assert_array_equal(found, np.array([table["a"], table["b"]]).T)
