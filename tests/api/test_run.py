"""A run folder put to use from Python."""

import json
import shutil

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tiny_run

import mmjax
from mmjax.checkpoint.load import load_arrays
from mmjax.core.errors import CheckpointError, DataError
from mmjax.writers import read_records


@pytest.fixture(scope="module")
def run(trained):
    return mmjax.load_run(trained)


@pytest.fixture(scope="module")
def moved(trained, tmp_path_factory):
    """The run folder alone, elsewhere, and other rows; the data that trained it is not there."""
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(trained, folder / "run")
    config = json.loads((folder / "run" / "config.json").read_text())
    config["data"]["source"]["path"] = str(folder / "deleted.csv")
    (folder / "run" / "config.json").write_text(json.dumps(config))
    return folder / "run", tiny_run.write_data(folder, 13, name="other", seed=5)


def test_predictions_have_ids_labels_and_probabilities_that_add_up(run, moved):
    rows = tiny_run.read_rows(moved[1])
    found = run.predict(moved[1])
    assert [one["row"] for one in found] == list(range(13))
    assert [one["id"] for one in found] == [row["id"] for row in rows]
    for one in found:
        shares = one["probabilities"]
        assert list(shares) == sorted(tiny_run.LABELS)
        assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
        assert one["label"] == max(shares, key=shares.get)
        assert one["probability"] == shares[one["label"]]


def test_a_run_needs_neither_its_data_nor_its_place(run, moved):
    folder, other = moved
    assert mmjax.load_run(folder).predict(other) == run.predict(other)
    with pytest.raises(DataError, match=r"deleted\.csv"):
        mmjax.load_run(folder).evaluate()


def test_a_row_is_predicted_as_it_is_among_others(run, moved, tmp_path):
    whole = run.predict(moved[1])
    rows = tiny_run.read_rows(moved[1])
    for index in (0, 7, 12):
        path = tiny_run.write_rows(moved[1].with_name("one.csv"), [rows[index]])
        (alone,) = run.predict(path)
        shares = [list(one["probabilities"].values()) for one in (alone, whole[index])]
        np.testing.assert_allclose(*shares, atol=1e-6)
        picture = moved[1].parent / rows[index]["picture"]
        single = run.predict_one(text=rows[index]["words"], image=picture)
        np.testing.assert_allclose(list(single["probabilities"].values()), shares[1], atol=1e-6)


def test_frames_of_arrays_bytes_and_pictures_are_predicted_as_files_are(run, moved):
    other = moved[1]
    want = [one["probabilities"] for one in run.predict(other)]
    frame = pd.read_csv(other)
    paths = [other.parent / path for path in frame["picture"]]
    forms = {
        "bytes": [path.read_bytes() for path in paths],
        "array": [np.asarray(PIL.Image.open(path)) for path in paths],
        "picture": [PIL.Image.open(path) for path in paths],
    }
    for cells in forms.values():
        found = run.predict(frame.assign(picture=pd.Series(cells, dtype=object)))
        assert [one["probabilities"] for one in found] == want
    below = run.predict(frame, root=str(other.parent))
    assert [one["probabilities"] for one in below] == want


def test_what_is_not_given_is_missing(run):
    text, image = run.predict_one(text="wing nest"), run.predict_one(image=_picture(0))
    assert text["probabilities"] != image["probabilities"]
    assert text == run.predict_one(words="wing nest")
    with pytest.raises(DataError, match="did you mean 'text'"):
        run.predict_one(txt="wing")
    with pytest.raises(DataError, match="cannot be read"):
        run.predict_one(image="nowhere.png")


def _picture(channel):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., channel] = 200
    return pixels


def test_columns_that_are_not_read_may_be_missing(run, moved, tmp_path):
    rows = tiny_run.read_rows(moved[1])
    path = moved[1].with_name("bare.csv")
    tiny_run.write_rows(path, rows, ("id", "words", "picture"))
    assert run.predict(path) == run.predict(moved[1])
    tiny_run.write_rows(path, rows, ("id", "words", "kind"))
    with pytest.raises(DataError, match="no column 'picture'"):
        run.predict(path)
    tiny_run.write_rows(path, rows, ("id", "words", "picture"))
    with pytest.raises(DataError, match="no column 'kind'"):
        run.evaluate(path)


def test_metrics_of_other_data_agree_with_its_predictions(run, moved):
    labels = [row["kind"] for row in tiny_run.read_rows(moved[1])]
    found = run.predict(moved[1])
    metrics = run.evaluate(moved[1])
    hits = [one["label"] == label for one, label in zip(found, labels, strict=True)]
    assert metrics["accuracy"] == pytest.approx(np.mean(hits), abs=1e-9)
    nll = [-np.log(one["probabilities"][label]) for one, label in zip(found, labels, strict=True)]
    assert metrics["log_loss"] == pytest.approx(np.mean(nll), rel=1e-5)
    assert sum(metrics[f"support/{label}"] for label in tiny_run.LABELS) == 13


def test_own_splits_are_those_of_training(run, trained):
    summary = json.loads((trained / "data_summary.json").read_text())
    assert summary["splits"] == {"train": 32, "validation": 4, "test": 4}
    sizes = {s: len(run.predict(split=s)) for s in ("train", "validation", "test", "all")}
    assert sizes == {**summary["splits"], "all": 40}
    assert run.evaluate() == pytest.approx(run.metrics["test"], nan_ok=True)
    with pytest.raises(DataError, match="did you mean 'validation'"):
        run.predict(split="valid")


def test_steps_are_chosen_by_name_or_number(trained, moved):
    records = read_records(trained / "metrics.jsonl")
    scores = {r["step"]: r["validation/accuracy"] for r in records if "validation/accuracy" in r}
    best, latest = (load_arrays(trained, step)["step"] for step in ("best", "latest"))
    assert best == min(step for step, score in scores.items() if score == max(scores.values()))
    assert latest == 20
    found = {
        step: mmjax.load_run(trained, step=step).predict(moved[1])
        for step in ("best", "latest", int(best), 18)
    }
    assert found["best"] == found[int(best)]
    assert found["latest"] != found[18]
    with pytest.raises(CheckpointError, match="no whole checkpoint of step 3"):
        mmjax.load_run(trained, step=3).predict(moved[1])


def test_embeddings_follow_the_rows(run, moved):
    found = run.embed(moved[1])
    assert {name: array.shape for name, array in found.items()} == {
        "ids": (13,),
        "fused": (13, 8),
        "text": (13, 8),
        "image": (13, 8),
    }
    assert found["ids"].tolist() == [row["id"] for row in tiny_run.read_rows(moved[1])]
    head = load_arrays(run.folder.path)["ema"]["task"]["head"]
    logits = found["fused"] @ head["kernel"] + head["bias"]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    want = [list(one["probabilities"].values()) for one in run.predict(moved[1])]
    np.testing.assert_allclose(chances, want, atol=1e-6)


def test_what_is_no_run_is_refused_with_the_runs_near_it(trained):
    with pytest.raises(CheckpointError, match="did you mean 'run'") as error:
        mmjax.load_run(trained.parent / "runn")
    assert "does not exist" in str(error.value)
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        mmjax.load_run(trained / "checkpoints")


def test_rows_without_a_known_label_are_predicted_and_not_evaluated(run, moved):
    rows = tiny_run.read_rows(moved[1])
    rows[4]["kind"] = "brd"
    path = tiny_run.write_rows(moved[1].with_name("unknown.csv"), rows)
    assert len(run.predict(path)) == 13
    with pytest.raises(DataError, match="unknown label 'brd'") as error:
        run.evaluate(path)
    assert "unknown.csv:6:kind" in str(error.value)
    assert "did you mean 'bird'" in str(error.value)


def test_no_rows_have_no_predictions(run, moved):
    empty = tiny_run.write_rows(moved[1].with_name("empty.csv"), [])
    with pytest.raises(DataError, match="0 rows"):
        run.predict(empty)
