"""A tokenizer without `transformers` cuts texts as that does."""

from __future__ import annotations

import goldens

from mmjax.data.fast_tokenizer import Fast
from mmjax.data.tokenization import HuggingFace, load

TEXTS = ("red apples", "", "RED [SEP] apple!", "a" * 300, "red " * 30, "pomme d'été", "[MASK] red")


def test_ids_segments_and_places_are_those_of_transformers(tmp_path):
    words = ["red", "apple", "##s", "a", "##a", "!", "d", "e", "##t", "##e"]
    folder = goldens.write_bert(tmp_path / "bert", words)
    theirs = HuggingFace.load(str(folder), 9)
    assert theirs.keep(tmp_path / "kept")
    ours = load("saved", tmp_path / "kept", 9)
    assert isinstance(ours, Fast)
    for name in ("vocab_size", "pad_id", "mask_id", "special_ids", "word_starts", "segments"):
        assert getattr(ours, name) == getattr(theirs, name)
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text)
        assert ours.placed(text) == theirs.placed(text)
    ours.save(tmp_path / "again")
    assert Fast.load(tmp_path / "again", 9).encode("red apples") == theirs.encode("red apples")
