"""Training from Python: from a DataFrame, and what the run then knows."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_run

import mmjax
from mmjax.core.config import to_json
from mmjax.core.errors import ConfigError, DataError, NumericError

COLUMNS = ["id", "picture", "kind"]

SETTINGS = (
    "train.duration=2 steps",
    "data.batch_size=8",
    "model.fusion.width=8",
    "model.encoders.image.width=8",
    "model.encoders.image.channels=8",
    "model.encoders.image.blocks=0",
    "model.encoders.image.groups=4",
    "data.modalities.image.size=8",
)


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    return tiny_run.write_data(tmp_path_factory.mktemp("frame"))


@pytest.fixture(scope="module")
def fitted(csv, tmp_path_factory):
    """A run from a DataFrame whose pictures are paths below a root, and what it told."""
    told = []
    with tiny_run.one_device():
        run = mmjax.fit(
            pd.read_csv(csv)[COLUMNS],
            label="kind",
            workdir=tmp_path_factory.mktemp("fitted") / "run",
            root=str(csv.parent),
            settings=SETTINGS,
            tell=told.append,
        )
    return run, told


def test_a_frame_with_a_root_is_fitted_evaluated_and_reported(fitted, csv):
    run, _ = fitted
    assert set(run.metrics) == {"validation", "test"}
    assert run.folder.report.is_file()
    found = run.predict(pd.read_csv(csv), root=str(csv.parent))
    assert [one["id"] for one in found] == [f"r{i}" for i in range(40)]
    assert mmjax.load_run(run.folder.path).predict(csv) == found


def test_what_was_chosen_is_told_with_reasons(fitted):
    told = "\n".join(fitted[1])
    for part in ("Spec('image', columns=('picture',))", "encoder image: image_cnn", "kind  "):
        assert part in told
    assert "stratified by 'kind'" in told


def test_a_run_of_a_frame_asks_for_it(fitted, csv):
    run, _ = fitted
    with pytest.raises(DataError, match="trained on a DataFrame"):
        run.evaluate()
    metrics = run.evaluate(pd.read_csv(csv)[COLUMNS], root=str(csv.parent), split="test")
    assert metrics == pytest.approx(
        {k: np.nan if v is None else v for k, v in run.metrics["test"].items()}, nan_ok=True
    )


def test_a_column_taken_for_pictures_that_do_not_open_is_an_error(csv, tmp_path):
    frame = pd.read_csv(csv)
    frame["picture"] = [f"nowhere/{i}.png" for i in range(40)]
    with pytest.raises(DataError, match="picture"):
        mmjax.fit(frame, "kind", tmp_path / "run", root=str(csv.parent), tell=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_an_unknown_label_column_has_its_nearest_named(csv, tmp_path):
    with pytest.raises(DataError, match="did you mean 'kind'"):
        mmjax.fit(str(csv), "kinds", tmp_path / "run", tell=lambda _: None)


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seeds_are_no_run(csv, tmp_path, seeds):
    with pytest.raises(ConfigError, match="expected 1 or more"):
        mmjax.fit(str(csv), "kind", tmp_path / "run", seeds=seeds, tell=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_a_diverging_run_is_a_numeric_error(csv, tmp_path):
    config = tiny_run.plain(
        csv,
        "text",
        "optimizer.name=sgd",
        "optimizer.learning_rate=1e30",
        "optimizer.max_grad_norm=none",
        "train.max_skipped=2",
    )
    with pytest.raises(NumericError, match="not finite 2 times in a row"):
        mmjax.train(config, workdir=tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_the_config_of_a_run_is_what_was_asked(trained):
    run = mmjax.load_run(trained)
    asked = to_json(tiny_run.config(trained.parent / "data.csv", *tiny_run.LONG))
    assert json.loads((trained / "config.json").read_text()) == asked
    assert to_json(run.config) == asked
    stored = json.loads((trained / "facts.json").read_text())
    assert stored["targets"]["label"]["label_names"] == ["bird", "fish", "stone"]
    assert run.facts["targets"]["label"]["label_names"] == ("bird", "fish", "stone")
