"""Marks in a text: where they are written, and which characters tokens are of."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import modalities
from mmjax.data.marking import marked
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table

TEXT = "Ada met Bob Ray"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], TEXT),
        ([(0, 3, "@", "@"), (8, 15, "#", "#")], "@ Ada @ met # Bob Ray #"),
        ([(8, 15, "#", "#"), (0, 3, "@", "@")], "@ Ada @ met # Bob Ray #"),
        ([(8, 11, "@", "@"), (8, 15, "#", "#")], "Ada met # @ Bob @ Ray #"),
        ([(12, 15, "<a>", "</a>"), (8, 15, "<b>", "</b>")], "Ada met <b> Bob <a> Ray </a> </b>"),
        ([(12, 99, "@", "@"), (40, 50, "#", "#")], "Ada met Bob @ Ray @"),
    ],
)
def test_marks_are_around_their_parts(parts, expected):
    one = marked(TEXT, parts)
    assert one.text == expected
    if parts:
        assert len(one.origin) == len(expected)
        assert "".join(expected[i] for i in np.flatnonzero(one.origin >= 0)) == TEXT
    for word in ("Ada", "met", "Bob", "Ray"):
        at = expected.index(word)
        assert TEXT[slice(*one.back(at, at + 3))] == word
    for start, end, before, after in parts:
        if start < len(TEXT):
            own = (start, min(end, len(TEXT)))
            at = expected.index(before)
            others = [p for p in parts if p[2] == before]
            assert one.back(at, at + len(before)) in [(p[0], min(p[1], len(TEXT))) for p in others]
            at = expected.rindex(after)
            assert one.back(at, at + len(after)) == own


def test_tokens_of_a_marked_text_point_into_the_plain_one(tmp_path):
    columns = {
        "words": ["  Ada met Bob Ray", "Bob saw Ada", None, "Ada sleeps"],
        "ends": [
            {"tail": [2, 5], "head": [10, 17]},
            '[{"start": 0, "end": 3, "label": "head"}, {"start": 8, "end": 11, "label": "tail"}]',
            None,
            None,
        ],
    }
    table = Table(columns, "m.jsonl", "f")
    settings = modalities.build(
        "text", column="words", marks="ends", vocab_size=80, max_length=16, offsets=True
    )
    assert settings.reads() == ("words", "ends")
    settings.fit(table, np.arange(4)).save(tmp_path)
    fitted = settings.load(tmp_path)
    cells = [{name: columns[name][row] for name in columns} for row in range(4)]
    examples = [fitted.example(c, Place(table, i), None) for i, c in enumerate(cells)]
    assert examples[2] is None
    assert fitted.lengths(table, np.arange(4)).tolist() == [
        0 if e is None else len(e["input_ids"]) for e in examples
    ]
    ranges = examples[0]["offsets"].tolist()
    assert [2, 5] in ranges
    # The two markers of each, and its words.
    assert ranges.count([10, 17]) == 2
    assert [10, 13] in ranges
    assert [14, 17] in ranges
    plain = modalities.build("text", column="words", vocab_size=80, max_length=16, offsets=True)
    bare = plain.load(tmp_path).example(cells[3], Place(table, 3), None)
    np.testing.assert_array_equal(bare["input_ids"], examples[3]["input_ids"])
    np.testing.assert_array_equal(bare["offsets"], examples[3]["offsets"])
    with pytest.raises(DataError, match="unknown mark 'subject'"):
        fitted.example({"words": "a b", "ends": {"subject": [0, 1]}}, Place(table, 0), None)
    with pytest.raises(ConfigError, match="marks are asked for, but tokenizer = 'subwords'"):
        modalities.build("text", column="words", marks="ends", tokenizer="subwords")
