"""Several texts in a row: all there once, none cut, and encoded as they would be alone."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tar_files import write_tar

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig, sources
from mmjax.data.first_fit import first_fit
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.packed_text import PackedText
from mmjax.data.modalities.text import Text
from mmjax.data.pipeline import prepare
from mmjax.data.sources import packed
from mmjax.data.table import Table
from mmjax.nn.packing import packed_mask, within_text
from mmjax.nn.transformer import Transformer

LENGTH = 16
WORDS = ["face", "red", "heart", "moon", "sun"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A BERT tokenizer as the hub would hold it."""
    from transformers import BertTokenizerFast

    folder = tmp_path_factory.mktemp("hub")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocab))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(str(folder))
    return str(folder)


def text_of(i):
    return " ".join(WORDS[(i + j) % 5] for j in range(1 + i * 7 % 9))


@pytest.mark.parametrize("seed", range(5))
def test_bins_hold_everything_once(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 20, 300)
    order, starts = first_fit(lengths, 16, most=5)
    assert sorted(order) == np.flatnonzero(lengths).tolist()
    bins = np.split(order, starts[1:-1])
    for one in bins:
        assert 1 <= len(one) <= 5
        assert lengths[one].sum() <= 16 or len(one) == 1
        assert (np.diff(one) > 0).all()
    # At most about twice the least number of bins (first fit: 1.7 and one).
    assert len(bins) <= 1.7 * np.ceil(lengths.clip(max=16).sum() / 16) + 300 / 5


def test_bins_by_hand():
    order, starts = first_fit([5, 9, 3, 0, 8, 1, 30, 7], 12, most=9)
    assert np.split(order, starts[1:-1])[0].tolist() == [0, 2, 5]
    assert [part.tolist() for part in np.split(order, starts[1:-1])] == [
        [0, 2, 5],
        [1],
        [4],
        [6],
        [7],
    ]


class TestPacked:
    @pytest.fixture
    def source(self, tmp_path, tokenizer):
        members = {f"{i:04d}.txt": text_of(i).encode() for i in range(60)}
        members["0007.txt"] = b"\xff"  # no text: it is in no row
        members["0011.txt"] = b" "
        members["0012.txt"] = " ".join(WORDS * 10).encode()
        write_tar(tmp_path / "a.tar", dict(list(members.items())[:45]))
        write_tar(tmp_path / "b.tar", dict(list(members.items())[45:]))
        splits = {"train": (str(tmp_path / "a.tar"),), "validation": (str(tmp_path / "b.tar"),)}
        inner = Spec("webdataset", splits=splits)
        return Spec("packed", source=inner, column="text", tokenizer=tokenizer, max_length=LENGTH)

    def data(self, source, tokenizer, **changes):
        modality = Spec("packed_text", column="text", tokenizer=tokenizer, max_length=LENGTH)
        config = DataConfig(
            source=source, modalities={"text": modality}, batch_size=4, threads=0, **changes
        )
        return prepare(config)

    def test_every_text_is_in_one_row_of_its_split(self, source):
        table = sources.build(source).read()
        for split, texts in (("train", range(45)), ("validation", range(45, 60))):
            rows = [table.column("__rows__")[i] for i in table.splits[split]]
            assert sorted(itertools.chain.from_iterable(rows)) == [
                i for i in texts if i not in (7, 11)
            ]
            for i, mine in zip(table.splits[split], rows, strict=True):
                if mine != [12]:
                    assert table.column("text")[i] == [text_of(row) for row in mine]
                    assert sum(2 + len(text_of(row).split()) for row in mine) <= LENGTH
        assert len(table) < 40

    def test_batches(self, source, tokenizer):
        data = self.data(source, tokenizer)
        alone = Text("text", tokenizer=tokenizer, max_length=LENGTH)
        single = alone.fit(data.table, data.rows("train"))
        with data.loader("train", train=True, seed=1) as loader:
            batches = [next(loader) for _ in range(12)]
        for batch in batches:
            fields = batch.inputs["text"]
            assert {name: one.shape for name, one in fields.items()} == dict.fromkeys(
                ("input_ids", "attention_mask", "token_type_ids", "segment_ids", "position_ids"),
                (4, LENGTH),
            )
            assert np.array_equal(fields["attention_mask"], fields["segment_ids"] > 0)
            for i, row in enumerate(batch.row.tolist()):
                texts = data.table.column("text")[row]
                for number, text in enumerate(texts, 1):
                    mine = fields["segment_ids"][i] == number
                    ids = single.example({"text": text}, Place(data.table, row), None)["input_ids"]
                    assert fields["input_ids"][i][mine].tolist() == ids.tolist()
                    assert fields["position_ids"][i][mine].tolist() == list(range(len(ids)))
        with data.loader("train", train=True, seed=1, start=5) as loader:
            for batch in batches[5:]:
                again = next(loader)
                assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(batch)))

    def test_lengths_are_counted_once(self, source, monkeypatch, tmp_path):
        table = sources.build(source).read()
        monkeypatch.setattr(packed.lazy, "lengths", None)
        assert sources.build(source).read().fingerprint == table.fingerprint
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for kept in (tmp_path / "cache/mmjax/indexes").glob("*.npy"):
            kept.write_bytes(kept.read_bytes()[:-3])
        assert sources.build(source).read().fingerprint == table.fingerprint

    def test_refusals(self, source, tmp_path):
        with pytest.raises(ConfigError, match="learnt from rows"):
            sources.build(source.replace(tokenizer="wordpiece")).read()
        (tmp_path / "m.jsonl").write_text('{"text": ""}\n')
        inner = Spec("jsonl", path=str(tmp_path / "m.jsonl"))
        with pytest.raises(DataError, match="MMX-501"):
            sources.build(source.replace(source=inner)).read()
        with pytest.raises(ConfigError, match="bags of words"):
            PackedText("text", tokenizer="subwords")


def test_lists_of_texts_of_any_source():
    cells = {"text": [["red heart", "sun"], "moon", None, ["", None], ["red " * 30, "sun"]]}
    config = DataConfig(
        source=Spec("frame"),
        modalities={"text": Spec("packed_text", column="text", max_length=24, lengths=(12,))},
        split=SplitConfig(fractions=(1.0, 0.0, 0.0)),
        threads=0,
        on_bad_sample="quarantine",
        max_bad=10,
    )
    data = prepare(config, frame=cells)
    assert {bad.row for bad in data.quarantine.found} == {2, 3}
    with data.loader("train", train=False, batch_size=3) as loader:
        (batch,) = loader
    fields = batch.inputs["text"]
    assert fields["segment_ids"].max(axis=1).tolist() == [2, 1, 1]
    assert fields["input_ids"].shape == (3, 24)
    assert fields["attention_mask"].sum(axis=1)[2] == 24
    with pytest.raises(DataError, match="MMX-503"):
        PackedText("text").texts([{"a": 1}], Place(Table(cells, "t", ""), 0))


def test_a_row_of_texts_is_encoded_as_the_texts_alone():
    """The first row holds three texts, the others one of them each, at its beginning."""
    spans = [(0, 5), (5, 8), (8, 12)]
    ids, values = np.zeros((4, 14), np.int32), np.zeros((4, 14, 8), np.float32)
    values[0] = np.random.default_rng(0).standard_normal((14, 8))
    for number, (start, stop) in enumerate(spans, 1):
        ids[0, start:stop] = number
        ids[number, : stop - start] = 1
        values[number, : stop - start] = values[0, start:stop]
    values = jnp.asarray(values)
    module = Transformer(depth=1, heads=2, mlp_dim=16)
    init = jax.jit(lambda key: module.init(key, values, packed_mask(ids), train=False))
    variables = init(jax.random.key(0))
    encode = jax.jit(lambda mask: module.apply(variables, values, mask, train=False))
    for causal in (False, True):
        together, *alone = np.asarray(encode(packed_mask(ids, causal=causal)))
        for (start, stop), one in zip(spans, alone, strict=True):
            np.testing.assert_allclose(together[start:stop], one[: stop - start], atol=1e-5)
    assert not np.allclose(encode(jnp.asarray(ids > 0))[0, :5], encode(packed_mask(ids))[1, :5])
    told = within_text(ids)[0].tolist()
    assert told == [True] * 4 + [False] + [True] * 2 + [False] + [True] * 3 + [False] * 2
