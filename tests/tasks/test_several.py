"""Several tasks at once: losses, sums and answers are those of each alone, whole and in parts."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from mmjax.api.run import load_run
from mmjax.api.training import train
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.models.build import build_model
from mmjax.tasks.classification import Classification
from mmjax.tasks.regression import Regression
from mmjax.tasks.several import Several

RNG = np.random.default_rng(0)
KIND = Classification(target="kind", num_labels=3, class_weights=(1.0, 2.0, 0.5))
SIZE = Regression(target="size", loss="mae")
BOTH = Several(parts={"kind": KIND, "size": SIZE}, weights={"size": 0.3})
BATCH = Batch(
    {},
    {},
    {"kind": np.array([0, 2, 1, 0, 1, 9]), "size": RNG.normal(size=(6, 1)).astype(np.float32)},
    np.arange(6) < 5,
    np.arange(6),
)
OUTPUT = jax.jit(BOTH.output)
OUTPUTS = {
    "kind": jnp.asarray(RNG.normal(size=(6, 3)), jnp.float32),
    "size": jnp.asarray(RNG.normal(size=(6, 1)), jnp.float32),
}


def _rows(tree, at):
    return jax.tree.map(lambda x: x[at], tree)


def test_the_loss_is_the_weighted_sum():
    found = OUTPUT(OUTPUTS, BATCH)
    shares = np.asarray(jax.nn.log_softmax(OUTPUTS["kind"]))[:5]
    truth = BATCH.targets["kind"][:5]
    weights = np.array([1.0, 2.0, 0.5])[truth]
    entropy = -(weights * shares[np.arange(5), truth]).sum() / 5
    off = np.abs(np.asarray(OUTPUTS["size"]) - BATCH.targets["size"])[:5].mean()
    assert float(found.loss) == pytest.approx(entropy + 0.3 * off, rel=1e-5)
    assert float(found.weight) == 5


def test_parts_of_a_batch_add_up_to_the_whole():
    whole = OUTPUT(OUTPUTS, BATCH)
    parts = [
        OUTPUT(_rows(OUTPUTS, at), _rows(BATCH, at))
        for at in (np.arange(0, 6, 2), np.arange(1, 6, 2))
    ]
    total = sum(float(one.loss * one.weight) for one in parts)
    assert total / sum(float(one.weight) for one in parts) == pytest.approx(float(whole.loss))
    sums = jax.tree.map(jnp.add, *(one.metrics for one in parts))
    assert BOTH.compute(sums) == pytest.approx(BOTH.compute(whole.metrics), nan_ok=True)
    own = KIND.compute(jax.jit(KIND.output)(OUTPUTS["kind"], BATCH).metrics)
    found = BOTH.compute(whole.metrics)
    assert {k.removeprefix("kind/"): v for k, v in found.items() if k.startswith("kind/")} == own
    assert BOTH.headline[:3] == ("kind/accuracy", "size/mae", "kind/macro_f1")


def test_a_target_that_is_not_there():
    batch = dataclasses.replace(BATCH, targets={"size": BATCH.targets["size"]})
    found = OUTPUT(OUTPUTS, batch)
    alone = jax.jit(SIZE.output)(OUTPUTS["size"], BATCH)
    assert float(found.loss) == pytest.approx(0.3 * float(alone.loss), rel=1e-6)
    none = OUTPUT(OUTPUTS, dataclasses.replace(BATCH, targets={}))
    assert float(none.loss) == float(none.weight) == 0
    assert none.metrics == {}
    predictions = {k: np.asarray(v) for k, v in none.predictions.items()}
    assert BOTH.evaluate(predictions, {}) == {}
    rows = BOTH.decode(predictions)
    assert rows[2]["kind"] == KIND.decode({"probabilities": predictions["kind/probabilities"]})[2]
    assert set(rows[0]) == {"kind", "size"}


def test_what_cannot_be_is_refused():
    for task, said in (
        (Several(), "no tasks"),
        (Several(parts={"kind": KIND}, weights={"kin": 1.0}), "did you mean 'kind'"),
        (Several(parts={"kind": KIND}, weights={"kind": -1.0}), "out of range"),
    ):
        with pytest.raises(ConfigError, match=said):
            task.output(OUTPUTS, BATCH)


def _config(path, *changes):
    config = tiny_run.config(
        path,
        "train.duration=2 steps",
        "train.evaluate_every=2 steps",
        "train.best_metric=where/accuracy",
        *changes,
    )
    targets = {
        "kind": Spec("category", column="kind"),
        "place": Spec("category", column="place"),
        "weight": Spec("number", column="weight"),
    }
    tasks = {
        "what": Spec("classification", target="kind"),
        "where": Spec("classification", target="place", hidden=8),
        "mass": Spec("regression", target="weight"),
    }
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, targets=targets),
        task=Spec("several", tasks=tasks, weights={"mass": 0.5}),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tiny_run.write_data(tmp_path_factory.mktemp("data"))
    rows = tiny_run.read_rows(path)
    for row in rows[::7]:
        row["picture"] = ""
    return tiny_run.write_rows(path, rows)


def test_a_run(data, tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)
    config = _config(data)
    values = config_lib.to_json(config)
    assert config_lib.to_json(config_lib.from_json(type(config), values)) == values
    changed = config_lib.override(config, ["task.tasks.what.label_smoothing=0.1"])
    assert changed.task.options["tasks"]["what"].options["label_smoothing"] == 0.1
    with tiny_run.one_device():
        train(config, tmp_path / "run")
        run = load_run(tmp_path / "run")
        metrics = read_json(tmp_path / "run" / "metrics.json")["test"]
        rows = run.predict(split="test")
        one = run.predict_one(text="wing feather")
    cells = tiny_run.read_rows(data)
    for name, column in (("what", "kind"), ("where", "place")):
        hits = [row[name]["label"] == cells[row["row"]][column] for row in rows]
        assert metrics[f"{name}/accuracy"] == pytest.approx(np.mean(hits))
    off = [abs(row["mass"]["value"] - float(cells[row["row"]]["weight"])) for row in rows]
    assert metrics["mass/mae"] == pytest.approx(np.mean(off), rel=1e-4)
    assert set(one) == {"what", "where", "mass"}
    assert one["where"]["label"] in ("land", "sea")
    assert "what: " in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    known = {k: v for k, v in run.facts["targets"].items() if k != "weight"}
    with pytest.raises(ConfigError, match=r"task\.tasks\.mass\.target.*valid: kind, place"):
        build_model(config.model, config.task, {**run.facts, "targets": known})
