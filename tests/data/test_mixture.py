"""Several sources as one: exact shares, any order of interruption, missing columns."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import PIL.Image
import pytest
from tar_files import caption, samples, write_tar

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig, sources
from mmjax.data.dataset import Dataset
from mmjax.data.pipeline import prepare
from mmjax.train.config import Config

COUNTS = {"tar": 30, "files": 8, "words": 12}
WEIGHTS = {"tar": 0.5, "files": 0.3, "words": 0.2}
ONE_SPLIT = SplitConfig(column="split", names={"train": ("train",)})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def parts(tmp_path):
    """Shards with pictures and captions; files in a folder of their own; captions without any."""
    write_tar(tmp_path / "a.tar", samples(0, COUNTS["tar"]))
    lines = {"files": [], "words": []}
    for i in range(COUNTS["files"]):
        (tmp_path / "files").mkdir(exist_ok=True)
        pixels = np.full((8, 8, 3), 10 * i, np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "files" / f"{i}.png")
        lines["files"].append({"image": f"{i}.png", "text": f"file {i}", "extra": i})
    lines["words"] = [{"text": f"words {i}"} for i in range(COUNTS["words"])]
    for name, rows in lines.items():
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "tar": Spec("webdataset", splits={"train": (str(tmp_path / "a.tar"),)}),
        "files": Spec("jsonl", path=str(tmp_path / "files" / "m.jsonl")),
        "words": Spec("jsonl", path=str(tmp_path / "words" / "m.jsonl")),
    }


def prepared(parts, **options) -> Dataset:
    changes = {k: options.pop(k) for k in ("threads", "workers", "split") if k in options}
    config = DataConfig(
        source=Spec("mixture", sources=parts, **{"weights": WEIGHTS, **options}),
        modalities={
            "text": Spec("text", column="text", max_length=12, word_dropout=0.2),
            "image": Spec("image", columns=("image",), size=8, augment={"noise": 0.1}),
        },
        batch_size=10,
        threads=0,
    )
    return prepare(dataclasses.replace(config, **changes))


def batches(data, count=30, **options):
    with data.loader("train", train=True, **{"seed": 3, **options}) as loader:
        return [next(loader) for _ in range(count)]


def same(ours, theirs):
    return all(map(np.array_equal, jax.tree.leaves(ours), jax.tree.leaves(theirs)))


def test_rows_and_columns(parts, tmp_path):
    table = sources.build(Spec("mixture", sources=parts)).read()
    assert len(table) == sum(COUNTS.values())
    assert {"image", "text", "extra", "__key__", "__source__"} <= set(table.columns)
    assert table.row(29)["text"] == caption(29)
    assert table.row(29)["__source__"] == "tar"
    assert (table.row(31)["text"], table.row(31)["extra"]) == ("file 1", 1)
    assert table.row(38) == {
        **dict.fromkeys(table.columns),
        "text": "words 0",
        "__source__": "words",
    }
    assert list(table.column("extra")) == [None] * 30 + list(range(8)) + [None] * 12
    assert table.column("text")[-1] == "words 11"
    assert table.root_of("image", 31) == tmp_path / "files"
    assert table.where(31, "image") == f"{tmp_path / 'files' / 'm.jsonl'}:2:image"
    assert table.splits["train"].tolist() == list(range(50))


def test_shares_are_exact_in_every_stretch(parts):
    data = prepared(parts)
    names = data.table.column("__source__")
    rows = np.concatenate([batch.row for batch in batches(data, 60)])
    found = np.array([names[row] for row in rows])
    for name, weight in WEIGHTS.items():
        had = np.concatenate([[0], np.cumsum(found == name)])
        for length in (10, 37, 200):
            counts = had[length:] - had[:-length]
            assert np.abs(counts - weight * length).max() < 2 * len(WEIGHTS)
        assert (found == name).sum() == round(600 * weight)
        # Each part is seen whole before any of its rows comes again.
        own = rows[found == name]
        whole = own[: len(own) // COUNTS[name] * COUNTS[name]].reshape(-1, COUNTS[name])
        assert (np.sort(whole, axis=1) == np.sort(np.unique(own))).all()


def test_a_modality_that_a_part_lacks_is_absent_there(parts):
    data = prepared(parts)
    names = data.table.column("__source__")
    for batch in batches(data, 6):
        here = np.array([names[row] for row in batch.row])
        assert np.array_equal(batch.present["image"], here != "words")
        assert batch.present["text"].all()
        assert batch.row_mask.all()


@pytest.mark.parametrize("start", [1, 13])
def test_going_on_at_a_step_is_as_never_having_stopped(parts, start):
    data = prepared(parts)
    whole = batches(data, 20)
    with data.loader("train", train=True, seed=3) as loader:
        for _ in range(start):
            next(loader)
        state = loader.state()
    again = prepared(parts, threads=2)
    assert state["fingerprint"] == again.fingerprint
    assert all(map(same, batches(again, 20 - start, start=state["next_step"]), whole[start:]))


def test_hosts_share_the_same_batches(parts):
    data = prepared(parts)
    shares = [batches(data, 6, process_index=i, process_count=2) for i in range(2)]
    for whole, *split in zip(batches(data, 6), *shares, strict=True):
        assert same(whole, jax.tree.map(lambda *leaves: np.concatenate(leaves), *split))


def test_epochs(parts):
    all_, first = (prepared(parts, epoch=epoch) for epoch in ("all", "first"))
    # tar 30 / 0.5 = 60, files 8 / 0.3 = 26.7, words 12 / 0.2 = 60.
    assert abs(all_.epoch_examples("train") - 60) <= len(WEIGHTS)
    assert abs(first.epoch_examples("train") - 26.7) <= len(WEIGHTS)
    assert all_.steps_per_epoch("train", batch_size=10) in (6, 7)
    seen = np.concatenate([b.row for b in batches(all_, all_.steps_per_epoch("train"))])
    assert set(seen.tolist()) == set(range(50))
    assert all_.fingerprint != first.fingerprint


def test_without_weights_each_row_is_seen_equally_often(parts):
    data = prepared(parts, weights={})
    assert data.epoch_examples("train") == 50
    rows = np.concatenate([batch.row for batch in batches(data, 20)])
    assert np.bincount(rows, minlength=50).tolist() == [4] * 50


def test_splits(parts, tmp_path):
    write_tar(tmp_path / "b.tar", samples(100, 5))
    splits = {"train": (str(tmp_path / "a.tar"),), "validation": (str(tmp_path / "b.tar"),)}
    data = prepared({**parts, "tar": Spec("webdataset", splits=splits)})
    assert data.rows("validation").tolist() == list(range(30, 35))
    assert len(data.rows("train")) == 50
    with data.loader("validation", train=False) as loader:
        (batch,) = loader
    assert batch.row.tolist() == [*range(30, 35), *[-1] * 5]
    plain = {"files": parts["files"], "words": parts["words"]}
    fractions = SplitConfig(fractions=(0.5, 0.5, 0.0))
    weights = {"files": 1, "words": 1}
    data = prepared(plain, split=fractions, weights=weights)
    assert len(data.rows("train")) == 10
    names = data.table.column("__source__")
    found = [names[row] for row in np.concatenate([b.row for b in batches(data, 10)])]
    assert found.count("files") == 50


def test_as_a_config(parts):
    data = DataConfig(source=Spec("mixture", sources=parts, weights=WEIGHTS))
    config = config_lib.check(Config(data=data))
    values = json.loads(json.dumps(config_lib.to_json(config)))
    assert config_lib.to_json(config_lib.from_json(Config, values)) == config_lib.to_json(config)
    changed = config_lib.override(config, ["data.source.weights.tar=0.9"])
    assert changed.data.source.options["weights"]["tar"] == 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": {}}, "MMX-103"),
        ({"weights": {"a": 1.0}}, "MMX-103.*'b' has no weight"),
        ({"weights": {"a": 1.0, "c": 1.0}}, "MMX-101.*'c'"),
        ({"weights": {"a": 1.0, "b": 0.0}}, "MMX-106"),
    ],
)
def test_refused(options, message):
    given = {"sources": {"a": Spec("emoji"), "b": Spec("emoji")}, **options}
    with pytest.raises(ConfigError, match=message):
        sources.build(Spec("mixture", **given))


def test_a_missing_source_is_told(parts):
    with pytest.raises(DataError, match="MMX-201"):
        prepared({**parts, "words": Spec("jsonl", path="nowhere.jsonl")})
