"""What `prepare` checks, learns, leaves out, keeps and finds again."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import PIL.Image
import pytest

from mmjax.core import config as typed
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, Join, SplitConfig
from mmjax.data.pipeline import prepare

ROWS = 30


def _pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A manifest of 30 rows with pictures, text, a number and a label."""
    lines = ["key,image,text,size,label"]
    for i in range(ROWS):
        PIL.Image.fromarray(_pixels(i)).save(tmp_path / f"{i}.png")
        lines.append(f"k{i},{i}.png,text number {i},{i / 2},{'ab'[i % 2]}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def _config(folder, **changes) -> DataConfig:
    base = DataConfig(
        source=Spec("csv", path=str(folder / "data.csv")),
        modalities={
            "image": Spec("image", columns=("image",), size=8),
            "text": Spec("text", column="text", vocab_size=100),
            "row": Spec("table", numbers=("size",)),
        },
        targets={"label": Spec("category", column="label")},
        split=SplitConfig(fractions=(0.6, 0.2, 0.2)),
        id_column="key",
        batch_size=6,
        threads=2,
    )
    return dataclasses.replace(base, **changes)


def _edit(folder, row: int, column: int, cell: str) -> None:
    lines = (folder / "data.csv").read_text().splitlines()
    cells = lines[row + 1].split(",")
    cells[column] = cell
    lines[row + 1] = ",".join(cells)
    (folder / "data.csv").write_text("\n".join(lines) + "\n")


def _pass(data, split="train"):
    with data.loader(split, train=False) as loader:
        return list(loader)


def test_a_manifest_becomes_batches(folder):
    data = prepare(_config(folder))
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 18,
        "validation": 6,
        "test": 6,
    }
    assert data.facts["targets"]["label"]["label_counts"] == (9, 9)
    (batch,) = _pass(data, "test")
    for i, row in enumerate(batch.row):
        want = PIL.Image.fromarray(_pixels(row)).resize((8, 8), 3, (0, 1, 10, 11))
        got = batch.inputs["image"]["pixel_values"][i]
        np.testing.assert_allclose(got, np.asarray(want) / 127.5 - 1, atol=1e-6)
    assert data.ids(batch.row) == [f"k{row}" for row in batch.row]
    sizes = np.array([i / 2 for i in data.splits["train"]])
    want = (batch.row / 2 - sizes.mean()) / sizes.std()
    np.testing.assert_allclose(batch.inputs["row"]["numbers"][:, 0], want, atol=1e-5)


def test_a_target_and_a_modality_of_one_name_are_refused(folder):
    spec = {"text": Spec("category", column="label")}
    with pytest.raises(ConfigError, match=r"'text'.*modality \(text\).*target \(category\)"):
        prepare(_config(folder, targets=spec))


def test_processors_learn_from_training_rows_alone(folder):
    before = prepare(_config(folder))
    row = int(before.splits["test"][0])
    _edit(folder, row, 2, "quite different words zzzz")
    _edit(folder, row, 3, "1000000")
    after = prepare(_config(folder))
    assert np.array_equal(after.splits["train"], before.splits["train"])
    assert after.facts == before.facts
    for ours, theirs in zip(_pass(after), _pass(before), strict=True):
        assert np.array_equal(ours.inputs["text"]["input_ids"], theirs.inputs["text"]["input_ids"])
        assert np.array_equal(ours.inputs["row"]["numbers"], theirs.inputs["row"]["numbers"])
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("row", "column", "cell", "said"),
    [
        (7, 1, "77.png", r"MMX-306.*'77\.png'.*data\.csv:9:image"),
        (7, 1, "../7.png", r"MMX-301.*data\.csv:9:image"),
        (7, 3, "1.2.3", r"MMX-521.*data\.csv:9:size"),
        (7, 4, "", r"MMX-530.*data\.csv:9:label"),
        (7, 0, "k8", "MMX-213"),
    ],
)
def test_a_bad_row_is_named_before_training(folder, row, column, cell, said):
    _edit(folder, row, column, cell)
    with pytest.raises(DataError, match=said):
        prepare(_config(folder))


def test_bad_rows_are_left_out_and_listed(folder, tmp_path, caplog):
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:150])
    (folder / "4.png").write_bytes(b"<html>")
    _edit(folder, 5, 1, "gone.png")
    _edit(folder, 6, 3, "x")
    _edit(folder, 7, 4, "")
    for column in (1, 2, 3):
        _edit(folder, 8, column, "")
    data = prepare(_config(folder, on_bad_sample="quarantine"))
    found = {bad.row: (bad.code, bad.column, bad.id) for bad in data.quarantine.found}
    assert found == {
        3: (403, "image", "k3"),
        4: (404, "image", "k4"),
        5: (306, "image", "k5"),
        6: (521, "size", "k6"),
        7: (530, "label", "k7"),
        8: (218, None, "k8"),
    }
    used = np.concatenate(list(data.splits.values()))
    assert not set(found) & set(used.tolist())
    summary = data.summary()
    assert summary["rows"] == summary["used"] + summary["quarantined"] == ROWS
    assert summary["quarantined_by_code"]["MMX-403"] == 1
    assert sum(sum(counts.values()) for counts in summary["labels"]["label"].values()) == 24
    assert "left out 6 bad rows" in caplog.text
    rows = np.concatenate(
        [batch.row[batch.row_mask] for s in data.splits for batch in _pass(data, s)]
    )
    assert sorted(rows) == sorted(used)
    data.save(tmp_path / "kept")
    lines = (tmp_path / "kept" / "quarantine.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["row"] == 3
    assert first["where"].endswith("data.csv:5")
    assert "damaged" in first["message"]
    json.dumps(summary)


def test_too_many_bad_rows_stop_the_run(folder):
    for row in range(3):
        _edit(folder, row, 3, "x")
    with pytest.raises(DataError, match=r"MMX-219.*3 of 30 rows"):
        prepare(_config(folder, on_bad_sample="quarantine", max_bad=2))
    frame = {"size": [*range(300)], "label": ["a", "b"] * 150}
    config = _config(
        folder,
        source=Spec("frame"),
        modalities={"row": Spec("table", numbers=("size",))},
        id_column=None,
        on_bad_sample="quarantine",
    )
    frame["size"][5:8] = ["x"] * 3
    assert len(prepare(config, frame=frame).quarantine.found) == 3
    frame["size"][8] = "x"
    with pytest.raises(DataError, match=r"MMX-219.*4 of 300"):
        prepare(config, frame=frame)


def test_a_missing_modality_is_fine_and_none_at_all_is_not(folder):
    _edit(folder, 3, 1, "")
    data = prepare(_config(folder))
    split = next(name for name, rows in data.splits.items() if 3 in rows)
    for batch in _pass(data, split):
        assert np.array_equal(batch.present["image"], batch.row_mask & (batch.row != 3))
        assert batch.present["text"].sum() == batch.row_mask.sum()
    for column in (2, 3):
        _edit(folder, 3, column, "")
    with pytest.raises(DataError, match=r"MMX-218.*image, text, row.*data\.csv:5"):
        prepare(_config(folder))


def test_a_resume_finds_splits_processors_and_quarantine_again(folder, tmp_path):
    _edit(folder, 6, 3, "x")
    config = _config(folder, on_bad_sample="quarantine")
    first = prepare(config)
    first.save(tmp_path / "kept")
    # Made again with this seed the splits would differ, so they must come from the folder.
    other = dataclasses.replace(config, split=SplitConfig(fractions=(0.6, 0.2, 0.2), seed=9))
    again = prepare(other, processors_folder=tmp_path / "kept")
    assert again.fingerprint == first.fingerprint
    assert again.facts == first.facts
    assert again.quarantine.found == first.quarantine.found
    for ours, theirs in zip(_pass(again), _pass(first), strict=True):
        assert np.array_equal(ours.row, theirs.row)
        assert np.array_equal(ours.inputs["text"]["input_ids"], theirs.inputs["text"]["input_ids"])


def test_the_fingerprint_changes_with_what_changes_batches(folder):
    fingerprint = prepare(_config(folder)).fingerprint
    same = ({"threads": 0}, {"prefetch": 9}, {"eval_batch_size": 3}, {"id_column": None})
    for changes in same:
        assert prepare(_config(folder, **changes)).fingerprint == fingerprint
    text = Spec("text", column="text", vocab_size=90)
    other = (
        {"batch_size": 12},
        {"modalities": {**_config(folder).modalities, "text": text}},
        {"split": SplitConfig(fractions=(0.6, 0.2, 0.2), seed=1)},
    )
    for changes in other:
        assert prepare(_config(folder, **changes)).fingerprint != fingerprint


def test_new_data_without_labels_or_splits(folder, tmp_path):
    prepare(_config(folder)).save(tmp_path / "kept")
    new = {"key": ["x", "y"], "text": ["text number 3", "other"], "size": [1.0, None]}
    new["image"] = [_pixels(1), _pixels(2)]
    config = _config(folder, source=Spec("frame"))
    data = prepare(config, frame=new, processors_folder=tmp_path / "kept", targets="optional")
    assert list(data.splits) == ["all"]
    (batch,) = _pass(data, "all")
    assert batch.targets == {}
    assert data.ids(batch.row[batch.row_mask]) == ["x", "y"]
    with pytest.raises(DataError, match=r"MMX-214.*'label'"):
        prepare(config, frame=new, processors_folder=tmp_path / "kept")


def test_labels_of_new_data(folder, tmp_path, caplog):
    prepare(_config(folder)).save(tmp_path / "kept")
    config = _config(folder, source=Spec("frame"), id_column=None)
    new = {"text": ["one", "two"], "size": [1, 2], "image": [_pixels(1)] * 2, "label": ["b", "c"]}
    with pytest.raises(DataError, match=r"MMX-531.*unknown label 'c'.*frame:1:label.*valid: a, b"):
        prepare(config, frame=new, processors_folder=tmp_path / "kept")
    data = prepare(config, frame=new, processors_folder=tmp_path / "kept", targets="optional")
    assert data.targets == {}
    assert "unknown label 'c'" in caplog.text
    new["label"] = ["b", "a"]
    data = prepare(config, frame=new, processors_folder=tmp_path / "kept", targets="optional")
    assert _pass(data, "all")[0].targets["label"][:2].tolist() == [1, 0]


def test_new_data_with_a_split_column(folder, tmp_path):
    prepare(_config(folder)).save(tmp_path / "kept")
    config = _config(folder, source=Spec("frame"), id_column=None, split=SplitConfig(column="part"))
    new = {"text": ["one", "two"], "size": [1, 2], "image": [_pixels(1)] * 2, "label": ["b", "a"]}
    options = {"processors_folder": tmp_path / "kept"}
    data = prepare(config, frame={**new, "part": ["test", "dev"]}, **options)
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {
        "validation": [1],
        "test": [0],
    }
    assert data.rows("all").tolist() == [0, 1]
    assert list(prepare(config, frame={**new, "part": ["test", "?"]}, **options).splits) == ["all"]
    assert list(prepare(config, frame=new, **options).splits) == ["all"]


def test_unknown_and_empty_splits(folder):
    data = prepare(_config(folder))
    with pytest.raises(DataError, match=r"MMX-222.*did you mean 'test'"):
        data.loader("tests", train=False)
    rows = {"train": np.arange(20), "test": np.array([], np.int64)}
    given = prepare(_config(folder), splits=rows)
    assert np.array_equal(given.rows("train"), np.arange(20))
    with pytest.raises(DataError, match="'test' is empty"):
        given.loader("test", train=False)
    with pytest.raises(DataError, match="no training rows"):
        prepare(_config(folder), splits={"test": np.arange(20)})


def test_some_of_the_modalities(folder):
    data = prepare(_config(folder))
    text = data.only("text")
    for ours, theirs in zip(_pass(text), _pass(data), strict=True):
        assert set(ours.inputs) == {"text"}
        assert np.array_equal(ours.row, theirs.row)
        assert np.array_equal(ours.inputs["text"]["input_ids"], theirs.inputs["text"]["input_ids"])
    assert text.fingerprint != data.fingerprint
    with pytest.raises(ConfigError, match="did you mean 'image'"):
        data.only("images")


def test_joined_columns_reach_the_batches(folder):
    (folder / "more").mkdir()
    (folder / "more" / "extra.csv").write_text(
        "key,weight\n" + "\n".join(f"k{i},{i}" for i in range(25)) + "\n"
    )
    join = Join(Spec("csv", path=str(folder / "more" / "extra.csv")), on="key")
    config = _config(
        folder, joins=(join,), modalities={"row": Spec("table", numbers=("size", "weight"))}
    )
    data = prepare(config)
    (report,) = data.summary()["joins"]
    assert (report["matched"], report["unmatched_left"]) == (25, 5)
    (batch,) = _pass(data, "test")
    assert np.array_equal(batch.inputs["row"]["number_mask"][:, 1], batch.row < 25)


def test_a_config_survives_its_json(folder):
    augment = {"shift": 3, "jitter": {"hue": 0.1}}
    image = Spec("image", columns=("image",), size=8, augment=augment, mean=(0.1, 0.2, 0.3))
    config = typed.check(_config(folder, modalities={"image": image}))
    again = typed.from_json(DataConfig, json.loads(json.dumps(typed.to_json(config))))
    assert prepare(again).fingerprint == prepare(config).fingerprint
    changed = typed.override(config, ["modalities.image.size=16", "modalities.image.augment={}"])
    assert prepare(changed).facts["modalities"]["image"]["image_size"] == 16


def test_a_config_needs_modalities_with_names(folder):
    with pytest.raises(ConfigError, match="no modality"):
        prepare(_config(folder, modalities={}))
    with pytest.raises(ConfigError, match="MMX-106"):
        prepare(_config(folder, modalities={"../x": Spec("text", column="text")}))
