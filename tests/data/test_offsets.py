"""Where tokens stand in the text of their cell."""

from __future__ import annotations

import itertools
import unicodedata

import numpy as np
import pytest
from transformers import BertTokenizer, PreTrainedTokenizerFast

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import modalities
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.text import Text
from mmjax.data.table import Table
from mmjax.data.tokenization import HuggingFace

TEXTS = [
    "Großmutter’s naïve Ångström, in New York!",
    "  a cell\twith blanks around\n",
    "日本 हिन्दी 🙂🙂 unseen zzz",
    unicodedata.normalize("NFC", "Vie\u0323\u0302t Nam \ud55c\uae00"),
    "[SEP] <s> no specials",
    "lone \udc80 surrogate",
    7.5,
    None,
]
LEARNT = [{"tokenizer": "wordpiece", "vocab_size": 150}, {"tokenizer": "bpe", "vocab_size": 320}]


def _fitted(options, cells=TEXTS):
    table = Table(columns={"text": list(cells)}, name="m.jsonl", fingerprint="f")
    modality = Text("text", offsets=True, **options)
    return modality, modality.fit(table, np.arange(len(cells))), table


def _batch(processor, table):
    examples = [processor.example(table.row(i), Place(table, i), None) for i in range(len(table))]
    return processor.collate(examples)


@pytest.mark.parametrize("options", LEARNT, ids=lambda o: o["tokenizer"])
@pytest.mark.parametrize("lower_case", [True, False])
def test_the_characters_of_all_tokens_are_those_of_the_cell_but_for_blanks(options, lower_case):
    _, processor, table = _fitted({**options, "max_length": 64, "lower_case": lower_case})
    fields = _batch(processor, table)
    offsets = fields["offsets"]
    assert offsets.dtype == np.int32
    assert offsets.shape == (len(TEXTS), 64, 2)
    assert not offsets[~fields["attention_mask"]].any()
    for row, cell in enumerate(TEXTS[:-1]):
        text = str(cell)
        real = [tuple(one) for one in offsets[row].tolist() if one[1]]
        covered = sorted({i for start, end in real for i in range(start, end)})
        # BERT's normaliser leaves out U+FFFD, which a lone surrogate has become.
        wanted = "".join(text.replace("\udc80", "").split())
        assert "".join(text[i] for i in covered).replace("\udc80", "") == wanted
        assert all(not text[s].isspace() and not text[e - 1].isspace() for s, e in real)
        assert real == sorted(real)
        count = int(fields["attention_mask"][row].sum())
        assert not offsets[row, 0].any()
        assert not offsets[row, count - 1].any()
    assert not offsets[-1].any()


def test_pieces_of_a_word_divide_it():
    _, processor, table = _fitted({**LEARNT[0], "max_length": 64}, ["red apple"] * 3 + ["xred"])
    pieces = [tuple(one) for one in _batch(processor, table)["offsets"][3].tolist() if one[1]]
    assert pieces[0][0] == 0
    assert pieces[-1][1] == 4
    assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))


def test_offsets_come_back_with_a_saved_tokenizer(tmp_path):
    modality, processor, table = _fitted(LEARNT[1])
    processor.save(tmp_path)
    loaded = modality.load(tmp_path)
    ours, theirs = _batch(processor, table), _batch(loaded, table)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_ids_are_the_same_with_and_without_offsets():
    _, processor, table = _fitted(LEARNT[0])
    plain = Text("text", **LEARNT[0]).fit(table, np.arange(len(table)))
    without = _batch(plain, table)
    assert "offsets" not in without
    for name, values in without.items():
        np.testing.assert_array_equal(values, _batch(processor, table)[name])


def test_a_hugging_face_tokenizer_tells_them_if_it_is_a_fast_one(tmp_path):
    _, learnt, _ = _fitted(LEARNT[0])
    learnt.save(tmp_path)
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]"
    )
    found = HuggingFace(fast, 12).placed("blanks around")
    assert found.ids == HuggingFace(fast, 12).encode("blanks around").ids
    spots = [one for one in found.ranges if one != (0, 0)]
    assert "".join("blanks around"[a:b] for a, b in spots) == "blanksaround"
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    slow = HuggingFace(BertTokenizer(str(tmp_path / "vocab.txt")), 12)
    with pytest.raises(ConfigError, match="BertTokenizer does not tell where its tokens are"):
        slow.placed("a")


def test_a_cell_that_is_not_composed_is_refused():
    _, processor, _ = _fitted(LEARNT[0])
    cells = {"text": unicodedata.normalize("NFD", "naïve")}
    table = Table({"text": [cells["text"]]}, "m.jsonl", "f")
    with pytest.raises(DataError, match=r"composed of several.*m\.jsonl:0:text"):
        processor.example(cells, Place(table, 0), None)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("text", {"tokenizer": "subwords"}),
        ("text", {"word_dropout": 0.1}),
        ("texts", {"also": {"other": 0.5}}),
        ("packed_text", {}),
    ],
)
def test_what_has_no_places_refuses_to_give_them(kind, options):
    with pytest.raises(ConfigError, match="offsets are asked for, but"):
        modalities.build(kind, column="text", offsets=True, **options)
