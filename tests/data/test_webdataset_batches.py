"""Batches of rows in tar shards are those of the same rows in files, damaged ones apart."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest
from tar_files import caption, index_of, picture, samples, table_of, write_tar

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data import lazy
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.pipeline import prepare
from mmjax.data.sources.shards import File

ROWS = 40
pytestmark = pytest.mark.usefixtures("cache")


MODALITIES = {
    "text": Spec("text", column="text", word_dropout=0.3, max_length=16),
    "image": Spec("image", columns=("image",), size=8, augment={"affine": {"pixels": 2}}),
}


def config(source, **changes):
    base = DataConfig(source=source, modalities=MODALITIES, batch_size=8, threads=0)
    return dataclasses.replace(base, **changes)


def batches(data, count=12, **options):
    with data.loader("train", train=True, **{"seed": 7, **options}) as loader:
        return [next(loader) for _ in range(count)]


def same(ours, theirs):
    return all(map(np.array_equal, jax.tree.leaves(ours), jax.tree.leaves(theirs)))


class TestBatches:
    @pytest.fixture
    def data(self, folder):
        return prepare(config(Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})))

    def test_shards_are_as_good_as_files(self, data, tmp_path):
        """The batches of the same pictures and captions in files of their own."""
        lines = []
        for i in range(ROWS):
            (tmp_path / f"{i}.png").write_bytes(picture(i))
            lines.append(json.dumps({"image": f"{i}.png", "text": caption(i), "split": "train"}))
        (tmp_path / "m.jsonl").write_text("\n".join(lines) + "\n")
        split = SplitConfig(column="split", names={"train": ("train",)})
        files = prepare(config(Spec("jsonl", path=str(tmp_path / "m.jsonl")), split=split))
        assert all(map(same, batches(data), batches(files)))

    @pytest.mark.parametrize("start", [1, 7])
    def test_going_on_at_a_step_is_as_never_having_stopped(self, data, folder, start):
        whole = batches(data)
        with data.loader("train", train=True, seed=7) as loader:
            for _ in range(start):
                next(loader)
            state = loader.state()
        again = prepare(config(Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})))
        assert state == {"next_step": start, "fingerprint": again.fingerprint}
        assert all(map(same, batches(again, 12 - start, start=start), whole[start:]))

    def test_hosts_and_threads_change_nothing(self, data, folder):
        whole = batches(data, 6)
        parts = [batches(data, 6, process_index=i, process_count=2) for i in range(2)]
        for one, *shares in zip(whole, *parts, strict=True):
            assert same(one, jax.tree.map(lambda *leaves: np.concatenate(leaves), *shares))
        source = Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})
        assert all(map(same, batches(prepare(config(source, threads=4)), 6), whole))

    @pytest.mark.slow
    def test_a_worker_process_changes_nothing(self, data, folder):
        source = Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})
        assert all(map(same, batches(prepare(config(source, workers=1)), 3), batches(data, 3)))

    def test_splits_by_shard(self, folder):
        splits = {"train": (str(folder / "train-{000..002}.tar"),)}
        splits["validation"] = (str(folder / "train-003.tar"),)
        data = prepare(config(Spec("webdataset", splits=splits)))
        assert data.rows("validation").tolist() == list(range(30, 40))
        assert data.rows("train").tolist() == list(range(30))
        data.save(folder / "run")
        again = prepare(config(Spec("webdataset", splits=splits)), processors_folder=folder / "run")
        assert again.fingerprint == data.fingerprint
        with pytest.raises(DataError, match="in two splits"):
            table_of(splits={"train": splits["train"], "test": splits["train"]})

    def test_splits_by_key_stay_when_shards_are_added(self, tmp_path):
        for i in range(4):
            members = {f"{j:05d}.txt": b"x" for j in range(500 * i, 500 * (i + 1))}
            write_tar(tmp_path / f"{i}.tar", members)
        held = {"validation": 0.1, "test": 0.05}
        few = table_of(tmp_path / "{0..1}.tar", held_out=held)
        all_ = table_of(tmp_path / "{0..3}.tar", held_out=held)
        for name, rows in few.splits.items():
            mine = all_.splits[name]
            assert rows.tolist() == mine[mine < 1000].tolist()
        rows = np.concatenate(list(all_.splits.values()))
        assert sorted(rows) == list(range(2000))
        assert abs(len(all_.splits["validation"]) - 200) < 4 * np.sqrt(180)
        assert abs(len(all_.splits["test"]) - 100) < 4 * np.sqrt(95)
        for wrong in ({"validation": 1.0}, {"train": 0.5}, {"test": -0.1}):
            with pytest.raises(ConfigError, match="held_out"):
                table_of(tmp_path / "0.tar", held_out=wrong)

    def test_preparing_reads_no_picture_and_few_texts(self, folder, monkeypatch):
        read = []
        real = File.read
        monkeypatch.setattr(lazy, "FEW", 5)
        monkeypatch.setattr(
            File, "read", lambda self, *a: read.append(a[1] - 512) or real(self, *a)
        )
        source = Spec(
            "webdataset", paths=(str(folder / "*.tar"),), columns={"image": "png", "text": "txt"}
        )
        data = prepare(config(source))
        texts = [size for size in read if 0 < size < 60]
        assert len(texts) == 5
        assert not [size for size in read if size >= 60]
        assert sum(map(len, data.splits.values())) == ROWS
        padded = {**MODALITIES, "text": MODALITIES["text"].replace(lengths=(8,))}
        with pytest.raises(ConfigError, match=r"MMX-115.*text\.lengths"):
            prepare(config(source, modalities=padded)).loader("train", train=True)


class TestDamage:
    @pytest.fixture
    def source(self, tmp_path):
        """40 samples: row 3 has no picture, 5 is damaged, 8 has a text that is none, 9 nothing."""
        members = samples(0, ROWS)
        del members["000003.png"]
        members["000005.png"] = members["000005.png"][:60]
        members["000008.txt"] = b"\xff\xfe"
        del members["000009.png"], members["000009.txt"]
        write_tar(tmp_path / "a.tar", members)
        return Spec("webdataset", splits={"train": (str(tmp_path / "a.tar"),)})

    def test_places_of_bad_rows_stay_empty(self, source):
        data = prepare(config(source, on_bad_sample="quarantine"))
        assert len(data.rows("train")) == ROWS
        found = batches(data, 10)
        left_out = {bad.row: bad.code for bad in data.quarantine.found}
        assert left_out == {5: 403, 8: 243, 9: 218}
        for epoch in (found[:5], found[5:]):
            rows = np.concatenate([batch.row for batch in epoch])
            assert sorted(rows[rows >= 0]) == sorted(set(range(ROWS)) - {5, 8, 9})
        for batch in found:
            assert np.array_equal(batch.row_mask, batch.row >= 0)
            assert np.array_equal(batch.present["image"], batch.row_mask & (batch.row != 3))
            empty = ~batch.row_mask
            assert not batch.inputs["image"]["pixel_values"][empty].any()
            assert not batch.inputs["text"]["attention_mask"][empty].any()
        again = prepare(config(source, on_bad_sample="quarantine"))
        assert all(map(same, batches(again, 3, start=4), found[4:7]))
        assert data.summary()["quarantined"] == 3

    def test_or_they_stop_the_run(self, source):
        with pytest.raises(DataError, match=r"MMX-243.*a\.tar:000008\.txt"):
            batches(prepare(config(source)))
        text = {"text": MODALITIES["text"].replace(tokenizer="subwords", column="json")}
        with pytest.raises(DataError, match="MMX-503"):
            prepare(config(source, modalities=text))

    def test_rows_can_be_checked_ahead(self, source):
        ahead = source.replace(check_ahead=True)
        data = prepare(config(ahead, on_bad_sample="quarantine"))
        assert {bad.row for bad in data.quarantine.found} == {5, 8, 9}
        assert len(data.rows("train")) == ROWS - 3
        assert all(batch.row_mask.all() for batch in batches(data))

    def test_a_damaged_shard_is_one_bad_row(self, tmp_path, folder):
        path = folder / "train-003.tar"
        path.write_bytes(path.read_bytes()[:10_000])
        source = Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})
        with pytest.raises(DataError, match=r"MMX-240.*cut off|MMX-240.*past the end"):
            prepare(config(source))
        data = prepare(config(source, on_bad_sample="quarantine"))
        (bad,) = data.quarantine.found
        assert bad.code == 240
        assert str(path) in bad.where
        assert len(data.rows("train")) == 30 + len(index_of(path)) > 31

    def test_limits(self, tmp_path):
        members = samples(0, 300)
        members |= {f"{i:06d}.png": b"junk" for i in range(0, 300, 10)}
        write_tar(tmp_path / "a.tar", members)
        source = Spec("webdataset", splits={"train": (str(tmp_path / "a.tar"),)})
        image = {"image": Spec("image", columns=("image",), size=8)}
        data = prepare(config(source, modalities=image, on_bad_sample="quarantine"))
        with pytest.raises(DataError, match=r"MMX-219.*rows are bad.*max_bad"):
            batches(data, 40)
        allowed = config(source, modalities=image, on_bad_sample="quarantine", max_bad_fraction=0.2)
        assert len(batches(prepare(allowed), 40)) == 40
