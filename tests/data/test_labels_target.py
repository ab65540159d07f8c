"""Sets of names as targets: from lists and from text, with rows that have none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import MultiLabelBinarizer

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, targets
from mmjax.data.modalities.base import Place
from mmjax.data.pipeline import prepare
from mmjax.data.table import Table
from mmjax.data.targets.labels import Labels

CELLS = [["red", "big"], ["big"], [], ("old", "big", "red", "big"), np.array(["old"]), [1, 1.0]]


def _table(cells) -> Table:
    return Table({"tags": cells}, "m.csv", "f")


def _rows(target, cells, taught=None):
    table = _table(cells)
    fitted = target.fit(table, np.arange(len(cells) if taught is None else taught))
    return fitted, [fitted.encode(cell, Place(table, i)) for i, cell in enumerate(cells)]


def test_lists_agree_with_scikit_learn(tmp_path):
    fitted, rows = _rows(targets.build("labels", column="tags"), CELLS)
    assert fitted.facts == {
        "num_labels": 4,
        "label_names": ("big", "old", "red", "1"),
        "label_counts": (3, 2, 2, 1),
        "label_rows": 6,
    }
    fitted.save(tmp_path)
    loaded = Labels("tags").load(tmp_path)
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in loaded.facts.items()} == (
        fitted.facts
    )
    batch = loaded.collate([*rows, None])
    assert batch.dtype == bool
    names = [["1" if name in (1, 1.0) else name for name in cell] for cell in CELLS]
    expected = MultiLabelBinarizer(classes=fitted.facts["label_names"]).fit_transform([*names, []])
    np.testing.assert_array_equal(batch, expected)


def test_text_is_split_and_trimmed():
    fitted, rows = _rows(Labels("tags", separator=";"), ["red; big ", "big;;", ";"])
    assert fitted.facts["label_names"] == ("big", "red")
    assert rows == [(0, 1), (0,), ()]


def test_rare_names_are_left_out_and_unknown_ones_refused():
    cells = [["a", "b"], ["a"], ["a", "rare"], ["b"], ["rare", "a"], ["new", "a"]]
    fitted, rows = _rows(Labels("tags", min_count=2, others="ignore"), cells, taught=4)
    assert fitted.facts["label_names"] == ("a", "b")
    assert rows == [(0, 1), (0,), (0,), (1,), (0,), (0,)]
    strict = Labels("tags", min_count=2).fit(_table(cells), np.arange(4))
    assert strict.encode(cells[4], Place(_table(cells), 4)) == (0,)
    with pytest.raises(DataError, match=r"MMX-531.*unknown label 'new'.*m\.csv:5:tags.*ignore"):
        strict.encode(cells[5], Place(_table(cells), 5))


def test_missing_labels_are_refused_by_name_or_mean_none():
    table = _table([["a"], None, " "])
    for row in (1, 2):
        with pytest.raises(DataError, match=rf"MMX-530.*no labels.*m\.csv:{row}:tags"):
            Labels("tags", separator=",").check(table.column("tags")[row], Place(table, row))
    _, rows = _rows(Labels("tags", missing="none"), table.column("tags"))
    assert rows == [(0,), (), ()]


@pytest.mark.parametrize(
    ("cell", "said"), [("red", "separator"), (3.5, "no list"), ([[1]], "no l")]
)
def test_what_is_no_set_of_labels_is_refused(cell, said):
    with pytest.raises(DataError, match=f"MMX-531.*{said}"):
        Labels("tags").check(cell, Place(_table([cell]), 0))


def test_no_labels_at_all_are_refused():
    with pytest.raises(DataError, match=r"MMX-532.*that 2 rows have.*min_count"):
        Labels("tags", min_count=2).fit(_table([["a"], ["b"]]), np.arange(2))
    with pytest.raises(ConfigError, match="separator = ''"):
        Labels("tags", separator="")


def test_the_summary_counts_labels_by_split():
    table = {
        "words": [f"word {i}" for i in range(10)],
        "tags": [["a", "b"], ["a"]] * 5,
        "split": ["train"] * 6 + ["validation"] * 2 + ["test"] * 2,
    }
    config = DataConfig(
        source=Spec("frame"),
        modalities={"text": Spec("text", column="words", tokenizer="subwords", buckets=8)},
        targets={"label": Spec("labels", column="tags")},
    )
    dataset = prepare(config, frame=table)
    assert dataset.summary()["labels"]["label"]["train"].keys() == {"a", "b"}
    counts = dataset.summary()["labels"]["label"].values()
    assert sum(one["a"] for one in counts) == 10
    assert sum(one["b"] for one in counts) == 5
