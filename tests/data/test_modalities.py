"""Fitted modalities and targets: what they learn, keep and refuse."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib

import numpy as np
import PIL.Image
import pytest
from sklearn.preprocessing import StandardScaler

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import modalities, targets
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.image import Image
from mmjax.data.modalities.table import TableRow
from mmjax.data.modalities.text import Text
from mmjax.data.table import Table
from mmjax.data.targets.category import Category

NAMES = [
    "grinning face",
    "face with tears of joy",
    "red heart",
    "flag: Japan",
    "people hugging",
] * 5


def _table(root=None, **columns) -> Table:
    return Table(columns=columns, name="m.csv", fingerprint="f", root=root)


def _example(processor, table, row=0, rng=None):
    return processor.example(table.row(row), Place(table, row), rng)


def _fitted(modality, table, rows=None):
    return modality.fit(table, np.arange(len(table)) if rows is None else np.array(rows))


# --- text -----------------------------------------------------------------------------------------

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
    assert fitted.facts == {"vocab_size": tokenizer.get_vocab_size(), "pad_id": 0, "max_length": 32}


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
        assert processor.facts == {"vocab_size": 9, "pad_id": 0, "max_length": 8}


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


# --- pictures -------------------------------------------------------------------------------------


def _pixels(seed: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_pixels_are_normalised():
    table = _table(image=[_pixels(0), None])
    fitted = _fitted(Image(("image",), size=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)), table)
    batch = fitted.collate([_example(fitted, table, 0), _example(fitted, table, 1)])["pixel_values"]
    want = (_pixels(0) / 255.0 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(batch[0], want, atol=1e-6)
    assert not batch[1].any()
    assert batch.dtype == np.float32
    assert fitted.facts == {"image_size": 8, "channels": 3}


def test_cells_of_every_kind_are_the_same_picture(tmp_path):
    PIL.Image.fromarray(_pixels(0)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    cells = ["a.png", content, _pixels(0), PIL.Image.fromarray(_pixels(0))]
    table = _table(root=tmp_path, image=cells)
    fitted = _fitted(Image(("image",), size=8), table)
    batch = fitted.collate([_example(fitted, table, i) for i in range(4)])["pixel_values"]
    assert all(np.array_equal(batch[0], other) for other in batch[1:])
    gray = _fitted(Image(("image",), size=4, channels=1), table)
    assert gray.collate([_example(gray, table, 0), None])["pixel_values"].shape == (2, 4, 4, 1)


def test_padding_takes_the_mean_colour():
    table = _table(image=[np.zeros((4, 8, 3), np.uint8)])
    fitted = _fitted(Image(("image",), size=8, resize="pad"), table)
    batch = fitted.collate([_example(fitted, table)])["pixel_values"]
    np.testing.assert_allclose(batch[0, 0], 0, atol=0.005)
    np.testing.assert_allclose(batch[0, 4], -1)


def test_one_view_trains_and_the_first_evaluates():
    table = _table(a=[_pixels(0), None, None, " "], b=[_pixels(1), _pixels(2), None, None])
    fitted = _fitted(Image(("a", "b"), size=8), table)
    assert fitted.random
    seen = [
        _example(fitted, table, 0, np.random.default_rng(i))["pixel_values"][0, 0, 0]
        for i in range(200)
    ]
    assert 60 < sum(value == _pixels(0)[0, 0, 0] for value in seen) < 140
    assert np.array_equal(_example(fitted, table, 0)["pixel_values"], _pixels(0))
    assert np.array_equal(_example(fitted, table, 1)["pixel_values"], _pixels(2))
    assert _example(fitted, table, 2) is None
    assert _example(fitted, table, 3, np.random.default_rng(0)) is None
    first = _fitted(Image(("a", "b"), size=8, views="first"), table)
    for i in range(20):
        got = _example(first, table, 0, np.random.default_rng(i))["pixel_values"]
        assert np.array_equal(got, _pixels(0))


@pytest.mark.parametrize("views", ["sample", "first"])
def test_evaluation_may_see_all_views(views):
    table = _table(a=[_pixels(0), None, None], b=[_pixels(1), _pixels(2), None])
    fitted = _fitted(Image(("a", "b"), size=8, views=views, evaluate_views="all"), table)
    assert fitted.random
    batch = fitted.collate([_example(fitted, table, i) for i in range(3)], train=False)
    want = np.stack([[_pixels(0), _pixels(1)], [_pixels(2), _pixels(2)]]) / 127.5 - 1
    np.testing.assert_allclose(batch["pixel_values"][:2], want, atol=1e-6)
    assert not batch["pixel_values"][2].any()
    trained = fitted.collate([_example(fitted, table, 0, np.random.default_rng(0))], train=True)
    assert trained["pixel_values"].shape == (1, 8, 8, 3)


def test_augmentation_is_a_function_of_the_generator():
    table = _table(image=[_pixels(i, 32) for i in range(30)])
    modality = Image(("image",), size=32, augment={"shift": 3, "flip": 0.5, "jitter": 0.2})
    fitted = _fitted(modality, table)
    examples = [_example(fitted, table, i, np.random.default_rng(i)) for i in range(30)]
    together = fitted.collate(examples)["pixel_values"]
    again = _example(fitted, table, 17, np.random.default_rng(17))
    assert np.array_equal(fitted.collate([None, again])["pixel_values"][1], together[17])
    plain = fitted.collate([_example(fitted, table, 17)])["pixel_values"]
    assert not np.array_equal(plain[0], together[17])


def test_hugging_face_image_processors(tmp_path):
    from transformers import CLIPImageProcessor

    theirs = CLIPImageProcessor(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16})
    theirs.save_pretrained(str(tmp_path / "hub"))
    picture = PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    )
    want = theirs(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    table = _table(image=[picture])
    modality = Image(("image",), processor=str(tmp_path / "hub"), augment={"flip": 0.5})
    fitted = _fitted(modality, table)
    fitted.save(tmp_path / "saved")
    for processor in (fitted, modality.load(tmp_path / "saved")):
        assert processor.facts == {"image_size": 16, "channels": 3}
        got = processor.collate([_example(processor, table)])["pixel_values"][0]
        np.testing.assert_allclose(got, want, atol=1e-6)
    with pytest.raises(ConfigError, match="no image processor"):
        _fitted(Image(("image",), processor=str(tmp_path / "none")), table)


def test_missing_columns_and_files_are_named(tmp_path):
    with pytest.raises(DataError, match="did you mean 'image'"):
        _fitted(Image(("imag",)), _table(image=["a.png"]))
    table = _table(root=tmp_path, image=["a.png"])
    with pytest.raises(DataError, match=r"MMX-306.*m\.csv:0:image"):
        Image(("image",)).check(table.row(0), Place(table, 0), decode=False)


# --- tables ---------------------------------------------------------------------------------------


def test_numbers_are_standardised_by_the_training_rows(tmp_path):
    values = np.random.default_rng(0).normal(5, 3, (50, 2))
    cells = [[*values[:, 0].tolist(), "NA"], [*(str(v) for v in values[:, 1]), None]]
    table = _table(a=cells[0], b=cells[1], kind=[*("xyz"[i % 3] for i in range(50)), "w"])
    modality = TableRow(numbers=("a", "b"), categories=("kind",))
    fitted = _fitted(modality, table, range(30))
    fitted.save(tmp_path)
    want = StandardScaler().fit(values[:30]).transform(values)
    for processor in (fitted, modality.load(tmp_path)):
        assert processor.facts == {"numbers": 2, "cardinalities": (4,)}
        batch = processor.collate([_example(processor, table, i) for i in range(50)])
        np.testing.assert_allclose(batch["numbers"], want, atol=1e-5)
        assert batch["number_mask"].all()
        assert batch["categories"][:4, 0].tolist() == [1, 2, 3, 1]
        # The last row has no number and a category that training did not see.
        last = _example(processor, _table(a=[None], b=["1"], kind=["w"]))
        assert last["number_mask"].tolist() == [False, True]
        assert last["numbers"][0] == 0
        assert last["categories"].tolist() == [0]
        assert _example(processor, _table(a=["NA"], b=[None], kind=[""])) is None


@pytest.mark.parametrize(
    "cell", ["1,5", "abc", "1_000", "٣", "inf", float("inf"), True, "1e300", 1e39]
)
def test_what_is_no_number(cell):
    table = _table(a=[1.0, 2.0, cell])
    with pytest.raises(DataError, match=r"MMX-52[12].*m\.csv:2:a"):
        TableRow(numbers=("a",)).check(table.row(2), Place(table, 2), decode=False)


def test_constant_columns_warn_and_stay_finite(caplog):
    table = _table(a=[3.0, 3.0, 3.0, 1e38])
    fitted = _fitted(TableRow(numbers=("a",)), table, range(3))
    assert "'a' is constant" in caplog.text
    batch = fitted.collate([_example(fitted, table, i) for i in range(4)])
    assert np.isfinite(batch["numbers"]).all()
    assert batch["numbers"][0] == 0
    assert set(batch) == {"numbers", "number_mask"}


# --- targets --------------------------------------------------------------------------------------


def test_categories_are_sorted_training_labels(tmp_path):
    table = _table(label=["b", "a", "b", "c", "a\u0308", "ä"])
    modality = Category("label")
    fitted = modality.fit(table, np.array([0, 1, 2, 4]))
    assert fitted.facts == {
        "num_labels": 3,
        "label_names": ("a", "b", "ä"),
        "label_counts": (1, 2, 1),
    }
    fitted.save(tmp_path)
    loaded = modality.load(tmp_path)
    assert loaded.facts == fitted.facts
    assert [loaded.encode(cell, Place(table, 0)) for cell in ("b", "ä", "a\u0308")] == [1, 2, 2]
    assert loaded.collate([2, None]).tolist() == [2, 0]
    assert loaded.collate([2, None]).dtype == np.int32
    with pytest.raises(DataError, match=re.escape("'c'") + r".*m\.csv:3:label.*valid: a, b, ä"):
        loaded.encode("c", Place(table, 3))


def test_whole_numbers_are_labels_in_their_order():
    fitted = Category("label").fit(_table(label=[10, 9.0, "2", 9]), np.arange(4))
    assert fitted.facts["label_names"] == ("2", "9", "10")
    for wrong in (-1, 3.7, 3, True):
        with pytest.raises(DataError, match="MMX-531"):
            fitted.encode(wrong, Place(_table(label=[0]), 0))


@pytest.mark.parametrize("cell", [None, "", " ", float("nan")])
def test_missing_labels(cell):
    table = _table(label=["a", "b", cell])
    fitted = Category("label").fit(table, np.arange(3))
    assert fitted.facts["label_counts"] == (1, 1)
    for refuses in (
        lambda: fitted.encode(cell, Place(table, 2)),
        lambda: Category("label").check(cell, Place(table, 2)),
    ):
        with pytest.raises(DataError, match=r"MMX-530.*m\.csv:2:label"):
            refuses()


def test_given_names_keep_their_order_and_one_class_is_refused():
    table = _table(label=["b", "a"])
    fitted = Category("label", names=("b", "a", "z")).fit(table, np.arange(2))
    assert fitted.facts["label_counts"] == (1, 1, 0)
    assert fitted.encode("b", Place(table, 0)) == 0
    with pytest.raises(DataError, match="MMX-532"):
        Category("label").fit(table, np.array([0]))


def test_every_registered_name_builds():
    made = {name: modalities.settings(name) for name in modalities}
    assert set(made) >= {"text", "image", "table"}
    assert {name: targets.settings(name) for name in targets}
