"""Answers as ranges of characters, in the forms that data sets have them in."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import targets
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.answer_spans import AnswerSpans

TEXT = "the red fox ran"
CELLS = [
    {"text": ["red fox", "red", "red"], "answer_start": [4, 4, 4]},
    [{"text": "fox", "answer_start": 8}],
    [[0, 3], (12, 15), np.array([0, 3])],
    [],
    {"text": [], "answer_start": []},
]


def _table() -> Table:
    return Table({"answers": CELLS, "context": [TEXT] * len(CELLS)}, "m.jsonl", "f")


def test_forms_of_answers(tmp_path):
    target = targets.build("answer_spans", column="answers", also=("context",), most=2)
    table = _table()
    fitted = target.fit(table, np.arange(5))
    assert fitted.facts == {"unanswerable": 2}
    fitted.save(tmp_path)
    loaded = target.load(tmp_path)
    assert loaded.facts == fitted.facts
    rows = [loaded.encode([cell, TEXT], Place(table, i)) for i, cell in enumerate(CELLS)]
    batch = loaded.collate([*rows, None])
    assert batch.dtype == np.int32
    none = [-1, -1]
    assert batch.tolist() == [
        [[4, 11], [4, 7]],
        [[8, 11], none],
        [[0, 3], [12, 15]],
        [none, none],
        [none, none],
        [none, none],
    ]


@pytest.mark.parametrize(
    ("cell", "code", "what"),
    [
        (None, 530, "where the answer is"),
        ("red", 531, "no list"),
        ([["a", "b"]], 531, "no answer"),
        ([{"text": "red"}], 531, "no answer"),
        ([[3, 3]], 531, "empty or outside"),
        ([[10, 16]], 531, "empty or outside"),
        ([{"text": "fox", "answer_start": 4}], 531, "not what stands at 4"),
    ],
)
def test_what_is_refused(cell, code, what):
    target = AnswerSpans("answers", also=("context",))
    with pytest.raises(DataError, match=f"MMX-{code}.*{what}"):
        target.check([cell, TEXT], Place(_table(), 0))


def test_settings_and_no_answers_at_all():
    with pytest.raises(ConfigError, match="MMX-106"):
        AnswerSpans("answers", most=0)
    with pytest.raises(DataError, match="MMX-532"):
        AnswerSpans("answers").fit(_table(), np.array([3, 4]))
    assert AnswerSpans("answers").of([[100, 200]], Place(_table(), 0)) == ((100, 200),)
