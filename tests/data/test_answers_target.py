"""Answers as targets: the vocabulary, what annotators said, and the type of a question."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import targets
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.answers import NOBODY, UNKNOWN, Answers

SAID = [
    ["Yes", "yes.", "no"],
    ["two", "2", "3"],
    np.array(["2", "two"]),
    "the cat",
    ["no", "No!", "yes"],
    ["rare"],
]
KINDS = ["yes/no", "number", "number", "other", "yes/no", "other"]


def _table(said=SAID) -> Table:
    return Table({"answers": said, "kind": KINDS[: len(said)]}, "m.jsonl", "f")


def test_vocabulary_and_ids(tmp_path):
    target = targets.build("answers", column="answers", also=("kind",), most=4)
    table = _table()
    fitted = target.fit(table, np.arange(6))
    assert fitted.facts == {
        "num_answers": 4,
        "answer_names": ("2", "cat", "no", "rare"),
        "answer_counts": (2, 1, 1, 1),
        "type_names": ("number", "other", "yes/no"),
        "annotators": 3,
    }
    fitted.save(tmp_path)
    loaded = target.load(tmp_path)
    rows = [loaded.encode([SAID[i], KINDS[i]], Place(table, i)) for i in range(6)]
    batch = loaded.collate([*rows, None])
    assert batch.dtype == np.int32
    assert batch.tolist() == [
        [2, UNKNOWN, UNKNOWN, UNKNOWN, 2],
        [0, 0, 0, 0, UNKNOWN],
        [0, 0, 0, 0, NOBODY],
        [1, 1, 1, NOBODY, NOBODY],
        [2, 2, 2, 2, UNKNOWN],
        [1, 3, 3, NOBODY, NOBODY],
        [0, NOBODY, NOBODY, NOBODY, NOBODY],
    ]


def test_answers_of_ones_own_and_no_types():
    fitted = Answers("answers", names=("Yes", "NO", "yes")).fit(_table(), np.arange(6))
    assert fitted.facts["answer_names"] == ("yes", "no")
    assert fitted.facts["answer_counts"] == (1, 1)
    assert fitted.encode("yes", Place(_table(), 0)).tolist() == [0, 0, 0, NOBODY, NOBODY]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ([None, "other"], 530),
        ([[], "other"], 530),
        ([["yes", None], "other"], 530),
        (["yes", None], 530),
        ([["yes", ["no"]], "other"], 531),
        (["yes", "colour"], 531),
        ([["yes"] * 4, "other"], 531),
    ],
)
def test_what_is_refused(cell, code):
    fitted = Answers("answers", also=("kind",)).fit(_table(), np.arange(6))
    with pytest.raises(DataError, match=f"MMX-{code}"):
        fitted.encode(cell, Place(_table(), 0))


def test_settings_and_too_few_answers():
    with pytest.raises(ConfigError, match="MMX-106"):
        Answers("answers", also=("a", "b"))
    with pytest.raises(DataError, match="MMX-532"):
        Answers("answers").fit(_table(["no", "No"]), np.arange(2))
