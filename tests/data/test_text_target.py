"""Targets that are texts: ids, ends, several references, groups, and the way back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig, targets
from mmjax.data.modalities.base import Place
from mmjax.data.pipeline import prepare
from mmjax.data.spelling import of_pieces, spelled
from mmjax.data.table import Table

NAMES = ["a red apple", "two green apples, ripe", "Äpfel (rot)", "赤いリンゴ", "one"] * 3


def _table(**columns) -> Table:
    return Table(columns=columns, name="m.csv", fingerprint="f")


def _fitted(table, **options):
    target = targets.build(Spec("text", **{"column": "name", "vocab_size": 400, **options}))
    return target, target.fit(table, np.arange(len(table)))


def _ids(processor, table, row=0, columns=("name",)):
    cells = [table.column(one)[row] for one in columns]
    return processor.encode(cells if len(cells) > 1 else cells[0], Place(table, row))


@pytest.mark.parametrize("kind", ["bpe", "characters", "wordpiece"])
def test_ids_are_spelled_as_the_text(kind, tmp_path):
    table = _table(name=NAMES)
    target, fitted = _fitted(table, tokenizer=kind, max_length=48)
    fitted.save(tmp_path)
    loaded = target.load(tmp_path)
    assert loaded.facts == fitted.facts
    facts = fitted.facts
    for row, text in enumerate(NAMES[:5]):
        ids = _ids(loaded, table, row)
        assert ids[-1] == facts["end_id"]
        assert facts["start_id"] not in ids
        found = spelled(facts["speller"], [*ids, 7, 7], facts["end_id"])
        if kind == "wordpiece":  # which does not know where blanks were
            found, text = found.replace(" ", ""), text.replace(" ", "")
        assert found == text
    batch = fitted.collate([_ids(fitted, table), None])
    assert batch.dtype == np.int32
    assert (batch[1] == -1).all()
    assert (batch[0] >= 0).sum() == len(_ids(fitted, table))


def test_lower_case_and_a_text_that_is_too_long():
    table = _table(name=["Red Apple"] * 3)
    _, fitted = _fitted(table, tokenizer="characters", lower_case=True, max_length=4)
    ids = _ids(fitted, table)
    assert len(ids) == 4
    assert fitted.facts["end_id"] not in ids
    assert spelled(fitted.facts["speller"], ids) == "red"


def test_of_several_texts_the_commonest_trains_and_all_judge():
    table = _table(name=[["no", "yes", "yes"], ["up", "down"]], language=["en", "de"])
    _, fitted = _fitted(table, also=("language",))
    say = [
        spelled(fitted.facts["speller"], _ids(fitted, table, row, ("name", "language")))
        for row in range(2)
    ]
    assert say == ["yes", "up"]
    cells = [[table.column("name")[row], table.column("language")[row]] for row in range(2)]
    found = fitted.texts(cells, [Place(table, row) for row in range(2)])
    assert found == {"references": [("no", "yes", "yes"), ("up", "down")], "group": ["en", "de"]}


def test_a_data_set_gives_the_texts_of_its_rows():
    config = DataConfig(
        source=Spec("emoji"),
        modalities={"text": Spec("text", column="name")},
        targets={"tags": Spec("text", column="tags", also=("group",), max_length=8)},
        split=SplitConfig(column="split"),
        threads=1,
    )
    dataset = prepare(config)
    texts = dataset.texts([0, 3])
    assert texts["tags/references"] == [tuple(dataset.table.column("tags")[i]) for i in (0, 3)]
    assert texts["tags/group"] == [dataset.table.column("group")[i] for i in (0, 3)]
    assert set(texts) == {"text", "tags/references", "tags/group"}


@pytest.mark.parametrize(
    ("cell", "code"), [(None, 530), ("  ", 530), ([], 530), ([None, ""], 530), ({"a": 1}, 531)]
)
def test_a_row_without_text_is_refused(cell, code):
    table = _table(name=["one", cell])
    target = targets.build(Spec("text", column="name"))
    with pytest.raises(DataError, match=f"MMX-{code}"):
        target.check(cell, Place(table, 1))


def test_settings_that_are_wrong():
    for options, why in (
        ({"tokenizer": "subwords"}, "bags of words"),
        ({"tokenizer": "bpee"}, "bpe"),
        ({"max_length": 1}, "max_length = 1"),
        ({"also": ("a", "b")}, "also"),
    ):
        with pytest.raises(ConfigError, match=why):
            targets.build(Spec("text", column="name", **options))
    table = _table(name=["one"], language=[None])
    target = targets.build(Spec("text", column="name", also=("language",)))
    with pytest.raises(DataError, match="no group"):
        target.check(["one", None], Place(table, 0))


def test_marian_cuts_what_is_written_by_its_own_pieces(tmp_path):
    """Another model than that of what is read; no tokenizer.json tells how ids are spelled."""
    pieces = pytest.importorskip("sentencepiece")
    vocabulary = {"</s>": 0, "<unk>": 1}
    for name, texts in (("source", ["zwei rote Birnen", "eine Birne"]), ("target", NAMES[:2])):
        texts = [*texts, "the end", "one two"] * 8
        pieces.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=str(tmp_path / name),
            vocab_size=30,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (tmp_path / f"{name}.model").rename(tmp_path / f"{name}.spm")
        read = pieces.SentencePieceProcessor(model_file=str(tmp_path / f"{name}.spm"))
        for index in range(3, read.get_piece_size()):
            vocabulary.setdefault(read.id_to_piece(index), len(vocabulary))
    vocabulary["<pad>"] = len(vocabulary)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    settings = {"tokenizer_class": "MarianTokenizer", "source_lang": "de", "target_lang": "en"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "marian"}))
    table = _table(name=["a red apple", "two green apples"])
    target, fitted = _fitted(table, tokenizer=str(tmp_path), max_length=24)
    written = pieces.SentencePieceProcessor(model_file=str(tmp_path / "target.spm"))
    fitted.save(tmp_path / "saved")
    for one in (fitted, target.load(tmp_path / "saved")):
        ids = _ids(one, table)
        wanted = [vocabulary[piece] for piece in written.encode("a red apple", out_type=str)]
        assert ids.tolist() == [*wanted, 0]
        assert spelled(one.facts["speller"], ids.tolist(), 0) == "a red apple"
        assert one.facts["start_id"] == vocabulary["<pad>"], "Marian begins with padding"
    with pytest.raises(ConfigError, match="how ids are spelled"):
        of_pieces({"a": 0}, ())
