"""Text modalities: tokenizers that are learnt, loaded, kept, and fed odd texts."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data import tokenization
from mmjax.data.config import modalities
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.text import Text
from mmjax.data.table import Table

NAMES = [
    "grinning face",
    "face with tears of joy",
    "red heart",
    "flag: Japan",
    "people hugging",
] * 5


def _table(**columns) -> Table:
    return Table(columns=columns, name="m.csv", fingerprint="f")


def _example(processor, table, row=0, rng=None):
    return processor.example(table.row(row), Place(table, row), rng)


def _fitted(modality, table, rows=None):
    return modality.fit(table, np.arange(len(table)) if rows is None else np.array(rows))


KINDS = [
    {"tokenizer": "wordpiece", "vocab_size": 120},
    {"tokenizer": "bpe", "vocab_size": 300},
    {"tokenizer": "subwords", "max_length": 64},
    {"tokenizer": "subwords", "buckets": 0, "ngrams": (2, 4), "max_length": 64},
]


@pytest.mark.parametrize("options", KINDS, ids=lambda o: f"{o['tokenizer']}{o.get('buckets', '')}")
def test_a_saved_tokenizer_gives_the_same_ids(options, tmp_path):
    table = _table(name=[*NAMES, "Großmutter’s naïve Ångström 日本 हिन्दी 🙂 unseen zzz"])
    modality = Text("name", **options)
    fitted = _fitted(modality, table, range(25))
    fitted.save(tmp_path)
    loaded = modality.load(tmp_path)
    assert loaded.facts == fitted.facts
    for row in range(len(table)):
        ours, theirs = _example(fitted, table, row), _example(loaded, table, row)
        assert np.array_equal(ours["input_ids"], theirs["input_ids"])
        assert ours["input_ids"].max() < fitted.facts["vocab_size"]
        assert len(ours["input_ids"]) <= modality.max_length
    for path in tmp_path.iterdir():
        json.loads(path.read_text("utf-8"))


def test_learnt_wordpieces_put_words_back_together():
    fitted = _fitted(Text("name", vocab_size=500), _table(name=NAMES))
    tokenizer = fitted._tokenizer._backend
    tokens = tokenizer.encode("Grinning people").tokens
    assert tokens == ["[CLS]", "grinning", "people", "[SEP]"]
    spread = tokenizer.encode("japanese").tokens[1:-1]
    assert "".join(token.removeprefix("##") for token in spread) == "japanese"
    assert "[MASK]" not in tokenizer.encode("[MASK] [SEP]").tokens[:-1]
    pieces = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    starts = [not piece.startswith("##") for piece in pieces]
    assert fitted.facts == {
        "vocab_size": len(pieces),
        "pad_id": 0,
        "max_length": 32,
        "mask_id": pieces.index("[MASK]"),
        "special_ids": (0, 1, 2, 3, 4),
        "word_starts": np.packbits(starts).tobytes().hex(),
    }


def test_every_process_learns_the_same_pieces():
    code = (
        "import sys, zlib, numpy as np\n"
        "from mmjax.data.modalities.text import Text\n"
        "from mmjax.data.table import Table\n"
        "cells = [' '.join(f'w{i * j % 97:x}q' for j in range(9)) for i in range(200)]\n"
        "table = Table({'name': cells}, 't', 'f')\n"
        "for kind in ('wordpiece', 'bpe', 'subwords'):\n"
        "    text = Text('name', tokenizer=kind, vocab_size=400).fit(table, np.arange(200))\n"
        "    ids = text.lengths(table, np.arange(200)).tolist()\n"
        "    row = text.example({'name': cells[7]}, None, None)['input_ids'].tolist()\n"
        "    print(kind, zlib.crc32(str((ids, row)).encode()))\n"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": "", "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    assert next(iter(runs)).count("\n") == 3


def test_subwords_are_words_and_hashed_ngrams():
    table = _table(name=["cat sat", "cat"])
    modality = Text("name", tokenizer="subwords", ngrams=(3, 4), buckets=100, vocab_size=1)
    fitted = _fitted(modality, table)

    def grams(word):
        bounded = f"<{word}>"
        found = [bounded[i : i + n] for n in (3, 4) for i in range(len(bounded) - n + 1)]
        return [3 + zlib.crc32(gram.encode()) % 100 for gram in found]

    # Ids: 0 padding, 1 nothing known, 2 the only word with an id of its own, then the buckets.
    assert fitted.facts["vocab_size"] == 103
    want = [2, *grams("sat"), *grams("cat")]
    got = _example(fitted, _table(name=["Sat CAT"]))["input_ids"].tolist()
    assert got == [2, *grams("sat"), *grams("cat")] == want


def test_subwords_can_be_words_alone_or_ngrams_of_their_own():
    table = _table(name=["aa bb aa", "bb aa", "qqqqq"])
    words = _fitted(Text("name", tokenizer="subwords", ngrams=(0, 0), min_count=2), table)
    assert [_example(words, table, i)["input_ids"].tolist() for i in range(3)] == [
        [2, 3, 2],
        [3, 2],
        [1],
    ]
    grams = _fitted(
        Text("name", tokenizer="subwords", words=False, buckets=0, ngrams=(2, 2)),
        _table(name=["ab"]),
    )
    assert grams.facts["vocab_size"] == 2 + 3
    assert sorted(_example(grams, _table(name=["ab"]))["input_ids"].tolist()) == [2, 3, 4]


def test_long_and_odd_texts_never_crash():
    odd = ["\ud83d lone", "a\x00b\x1b[31m", "\u202eright to left", "\u200b\u200d", "e\u0301 é", "�"]
    table = _table(name=[*NAMES, "word " * 2_000_000, *odd])
    for options in KINDS:
        fitted = _fitted(Text("name", **options), table, range(25))
        for row in range(25, len(table)):
            example = _example(fitted, table, row)
            assert example is None or 0 < len(example["input_ids"]) <= options.get("max_length", 32)
        combined = [
            _example(fitted, _table(name=[t]))["input_ids"].tolist() for t in ("é", "e\u0301")
        ]
        assert combined[0] == combined[1]


@pytest.mark.parametrize("cell", [None, "", "  \t\n", "\x00\x1f"])
def test_empty_text_is_missing(cell):
    table = _table(name=[*NAMES, cell])
    fitted = _fitted(Text("name"), table)
    assert _example(fitted, table, 25) is None
    assert not Text("name").check(table.row(25), Place(table, 25), decode=True)
    batch = fitted.collate([None, _example(fitted, table, 0)])
    assert batch["attention_mask"].sum(axis=1).tolist() == [0, 4]
    assert (batch["input_ids"][0] == fitted.facts["pad_id"]).all()


def test_what_is_no_text():
    with pytest.raises(DataError, match=r"MMX-503.*m\.csv:0:name"):
        _example(_fitted(Text("name"), _table(name=NAMES)), _table(name=[["a"]]))
    with pytest.raises(DataError, match="MMX-501"):
        _fitted(Text("name"), _table(name=[None, " "]))


def test_padded_lengths_are_a_closed_set():
    table = _table(name=["a", "a b c d e f", "a " * 40, None])
    fitted = _fitted(Text("name", max_length=20, lengths=(4, 10)), table)
    assert fitted.padded_lengths == (4, 10, 20)
    assert fitted.lengths(table, np.arange(4)).tolist() == [3, 8, 20, 0]
    batch = fitted.collate([_example(fitted, table, 0)], 4)
    assert batch["input_ids"].shape == (1, 4)
    assert batch["attention_mask"].tolist() == [[True, True, True, False]]
    assert fitted.collate([None])["input_ids"].shape == (1, 20)
    assert _fitted(Text("name"), table).padded_lengths == ()


def test_words_are_dropped_in_training_alone():
    table = _table(name=["one two three four five six seven eight"])
    fitted = _fitted(Text("name", tokenizer="subwords", ngrams=(0, 0), word_dropout=0.5), table)
    whole = _example(fitted, table)["input_ids"].tolist()
    found = [
        _example(fitted, table, rng=np.random.default_rng(i))["input_ids"].tolist()
        for i in range(50)
    ]
    assert len(whole) == 8
    assert 2.5 < np.mean([len(ids) for ids in found]) < 5.5
    assert all(set(ids) <= set(whole) for ids in found)
    assert fitted.random
    assert not _fitted(Text("name"), table).random


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory):
    """A BERT tokenizer as the hub would hold it."""
    from transformers import BertTokenizerFast

    folder = tmp_path_factory.mktemp("hub")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "face", "red", "heart", "##s"]
    (folder / "vocab.txt").write_text("\n".join(vocab))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(str(folder))
    return folder


def test_hugging_face_tokenizers(hub_folder, tmp_path):
    from transformers import AutoTokenizer

    table = _table(name=["red hearts", "face " * 30])
    modality = Text("name", tokenizer=str(hub_folder), max_length=8)
    fitted = _fitted(modality, table)
    fitted.save(tmp_path)
    loaded = modality.load(tmp_path)
    want = AutoTokenizer.from_pretrained(str(hub_folder))(
        ["red hearts", "face " * 30],
        truncation=True,
        max_length=8,
        padding="max_length",
        return_tensors="np",
    )
    for processor in (fitted, loaded):
        got = processor.collate([_example(processor, table, i) for i in range(2)])
        assert set(got) == {"input_ids", "attention_mask", "token_type_ids"}
        for field in got:
            assert np.array_equal(got[field], want[field])
        assert processor.facts == {
            "vocab_size": 9,
            "pad_id": 0,
            "max_length": 8,
            "mask_id": 4,
            "special_ids": (0, 1, 2, 3, 4),
            "word_starts": "ff00",
        }


def test_an_unknown_tokenizer_names_the_nearest(tmp_path, monkeypatch):
    from transformers import AutoTokenizer

    with pytest.raises(ConfigError, match="no tokenizer"):
        _fitted(Text("name", tokenizer=str(tmp_path)), _table(name=NAMES))

    def offline(name):
        raise OSError(f"{name} is not in the cache\nand more lines")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", offline)
    with pytest.raises(ConfigError, match="not in the cache"):
        _fitted(Text("name", tokenizer="some-bert"), _table(name=NAMES))
    with pytest.raises(ConfigError, match="did you mean 'wordpiece'"):
        Text("name", tokenizer="wordpeice")


@pytest.mark.parametrize(
    "options",
    [
        {"max_length": 0},
        {"lengths": (64,)},
        {"word_dropout": 1.0},
        {"ngrams": (5, 3)},
        {"buckets": -1},
    ],
)
def test_text_settings_are_checked(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        modalities.build(Spec("text", column="name", **options))


def test_a_tokenizer_that_needs_another_package(monkeypatch, tmp_path):
    import transformers

    def missing(name):
        raise ImportError("\nT5Tokenizer requires the SentencePiece library\nbut it is not there")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", missing)
    with pytest.raises(ConfigError, match="requires the SentencePiece library") as caught:
        tokenization.HuggingFace.load(str(tmp_path), 8)
    assert caught.value.fix == "pip install 'mmjax[sentencepiece]'"
