"""Several texts of one thing: which one trains; evaluation reads the first column alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import modalities
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.texts import Texts
from mmjax.data.table import Table

TABLE = Table(
    columns={
        "name": ["one", "two", None],
        "names": [{"fr": "un", "de": "eins"}, {}, {"fr": "trois"}],
        "tags": [["first", "single", "ace"], None, ["third"]],
    },
    name="m.csv",
    fingerprint="f",
)
WORDS = {"tokenizer": "subwords", "ngrams": (0, 0), "buckets": 0, "max_length": 8}


def _words(processor, rng, row=0):
    """The words of an example, by the ids that the tokenizer gives each alone."""
    found = processor.example(TABLE.row(row), Place(TABLE, row), rng)
    if found is None:
        return None
    every = ("one", "two", "un", "eins", "first", "single", "ace")
    alone = {processor._one._tokenizer.encode(word).ids[0]: word for word in every}
    return [alone[i] for i in found["input_ids"].tolist()]


def _fitted(**options):
    return Texts("name", **WORDS, **options).fit(TABLE, np.array([0, 1]))


def test_columns_are_drawn_by_their_shares_and_their_texts_evenly():
    processor = _fitted(also={"names": 0.5, "tags": 0.3})
    rng = np.random.default_rng(0)
    counts = Counter(word for _ in range(3000) for word in _words(processor, rng))
    shares = {word: count / 3000 for word, count in counts.items()}
    expected = {"one": 0.2, "un": 0.25, "eins": 0.25, "first": 0.1, "single": 0.1, "ace": 0.1}
    assert shares.keys() == expected.keys()
    for word, share in expected.items():
        # Five standard deviations of a share of 3000 draws.
        assert abs(shares[word] - share) < 5 * np.sqrt(share * (1 - share) / 3000)


def test_several_texts_of_a_cell_are_joined_in_any_order():
    processor = _fitted(also={"tags": 1.0}, together=2)
    rng = np.random.default_rng(1)
    seen = Counter(tuple(_words(processor, rng)) for _ in range(600))
    tags = ("first", "single", "ace")
    pairs = {(a, b) for a in tags for b in tags if a != b}
    assert set(seen) == {(tag,) for tag in tags} | pairs
    assert abs(sum(n for words, n in seen.items() if len(words) == 1) - 300) < 5 * np.sqrt(150)


def test_evaluation_and_rows_without_other_texts_read_the_first_column():
    processor = _fitted(also={"names": 0.5, "tags": 0.5})
    assert _words(processor, None) == ["one"]
    rng = np.random.default_rng(2)
    assert {tuple(_words(processor, rng, row=1)) for _ in range(50)} == {("two",)}
    assert _words(processor, rng, row=2) is None


def test_lengths_hold_whatever_training_may_read():
    table = Table({"name": ["a b", "c"], "tags": [["d e f", "g"], ["h"]]}, "m.csv", "f")
    modality = Texts("name", also={"tags": 0.9}, together=2, lengths=(2, 4), **WORDS)
    processor = modality.fit(table, np.arange(2))
    assert processor.lengths(table, np.arange(2)).tolist() == [4, 1]
    rng = np.random.default_rng(3)
    for row, most in ((0, 4), (1, 1)):
        examples = [processor.example(table.row(row), Place(table, row), rng) for _ in range(60)]
        assert max(len(example["input_ids"]) for example in examples) == most
    assert processor.collate(examples[:2], 4)["input_ids"].shape == (2, 4)


def test_a_saved_one_reads_the_same(tmp_path):
    fitted = _fitted(also={"tags": 0.5})
    fitted.save(tmp_path)
    loaded = Texts("name", **WORDS, also={"tags": 0.5}).load(tmp_path)
    assert loaded.facts == fitted.facts
    ours, theirs = (
        [_words(one, np.random.default_rng(4)) for _ in range(20)] for one in (fitted, loaded)
    )
    assert ours == theirs


@pytest.mark.parametrize(
    "options", [{"also": {"tags": 1.2}}, {"also": {"tags": -0.1}}, {"together": 0}]
)
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="MMX-106"):
        Texts("name", **options)


def test_a_cell_that_holds_no_text_is_named():
    table = Table({"name": ["a"], "tags": [[True]]}, "m.csv", "f")
    modality = modalities.build("texts", column="name", also={"tags": 0.5})
    with pytest.raises(DataError, match="MMX-503"):
        modality.check(table.row(0), Place(table, 0))
