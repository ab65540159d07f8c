"""Anomaly detection: losses and scores against float64, what is found, a run to its alarms."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_run
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import mmjax
from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Fused
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.tasks import normal_memory
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

WIDTH = 6
NAMES = ("normal", "far", "apart")


def _task(method, **options):
    return tasks.registry.build(
        "anomaly", facts={"label_names": NAMES}, method=method, **{"width": 4, **options}
    )


def _rows(count, seed, kinds=(0,)):
    """Two vectors a row that come from one cause; "far" is far off, "apart" of two causes."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(count, 3))
    other = rng.normal(size=(count, 3))
    labels = np.resize(np.array(kinds), count)
    mix = np.random.default_rng(99).normal(size=(2, 3, WIDTH))
    cause = np.where(labels[:, None] == 1, 4 * cause / np.abs(cause), cause)
    a = cause @ mix[0] + 0.1 * rng.normal(size=(count, WIDTH))
    b = np.where(labels[:, None] == 2, other, cause) @ mix[1]
    b = b + 0.1 * rng.normal(size=(count, WIDTH))
    return a.astype(np.float32), b.astype(np.float32), labels


def _given(a, b, labels, *, missing=(), rows=None):
    mask = np.ones((len(a), 2), bool)
    mask[list(missing), 1] = False
    values = np.stack([a, b], axis=1) * mask[..., None]
    pooled = values.reshape(len(a), -1)
    fused = Fused(*map(jnp.asarray, (values, mask, pooled)), {"a": (0, 1), "b": (1, 2)})
    rows = np.ones(len(a), bool) if rows is None else rows
    targets = {"label": jnp.asarray(labels, jnp.int32)}
    return fused, Batch({}, {}, targets, jnp.asarray(rows), jnp.arange(len(a)))


def _fit(task, steps=60, rate=3e-3):
    """Variables of a task trained on normal rows with a few anomalies among them, and known."""
    fused, batch = _given(*_rows(256, 0, (0,) * 15 + (1,)))
    variables = task.init(jax.random.key(0), fused, batch, train=False)
    params, state = variables.get("params", {}), variables["normal"]
    optimizer = optax.adam(rate)
    moments = optimizer.init(params)

    def loss(params, state):
        given = {"params": params, "normal": state, "clock": {"progress": jnp.ones(())}}
        output, new = task.apply(given, fused, batch, train=True, mutable=["normal"])
        return output.loss, new["normal"]

    @jax.jit
    def step(params, state, moments):
        (value, state), gradient = jax.value_and_grad(loss, has_aux=True)(params, state)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(params, updates), state, moments, value

    values = []
    for _ in range(steps):
        params, state, moments, value = step(params, state, moments)
        values.append(float(value))
    return {"params": params, "normal": state}, values


def _predict(task, variables, given):
    output = jax.jit(lambda v, f, b: task.apply(v, f, b, train=False))(variables, *given)
    return {name: np.asarray(value) for name, value in output.predictions.items()}


CASES = {
    "svdd": ({"loss": "own"}, 0.98, 0.5),
    "soft svdd": ({"method": "svdd", "boundary": "soft", "nu": 0.05}, 0.98, 0.5),
    "reconstruction": ({"width": 3}, 0.98, 0.95),
    "disagreement": ({}, 0.5, 0.97),
    "cosine": ({"method": "disagreement", "agreement": "cosine"}, 0.3, 0.93),
    "nearest": ({}, 0.98, 0.8),
    "tokens": ({"method": "nearest", "of": "tokens", "memory_size": 100}, 0.97, 0.0),
    "mahalanobis": ({}, 0.98, 0.98),
}
"""Settings, and the AUROC that far rows, and rows of two causes, are at the least found with."""


@pytest.mark.parametrize(
    "name",
    [one if one == "nearest" else pytest.param(one, marks=pytest.mark.slow) for one in CASES],
)
def test_planted_anomalies_are_found(name):
    options, far, apart = CASES[name]
    task = _task(**{"method": name, **options})
    variables, values = _fit(task, steps=150 if task.trained_by != "none" else 1)
    assert values[-1] < 0.7 * values[0] or task.trained_by == "none"
    if task.learns:
        fused, batch = _given(*_rows(256, 0, (0,) * 15 + (1,)))
        seen = _predict(task, variables, (fused, batch))
        task = task.clone(**task.learn(seen, {"label": np.asarray(batch.targets["label"])}))
    a, b, labels = _rows(200, 1)
    tuned = task.tune(_predict(task, variables, _given(a, b, labels)), {"label": labels})
    task = task.clone(**json.loads(json.dumps(tuned)))
    a, b, labels = _rows(300, 2, (0, 1, 2))
    predictions = _predict(task, variables, _given(a, b, labels, missing=[0]))
    found = task.evaluate(predictions, {"label": labels})
    total = task.total(predictions)
    for kind, least in ((1, far), (2, apart)):
        rows = (labels == 0) | (labels == kind)
        expected = roc_auc_score(labels[rows] == kind, total[rows])
        assert found[f"auroc/{NAMES[kind]}"] == pytest.approx(expected)
        assert expected >= least, (name, NAMES[kind], expected)
    assert found["false_alarm_rate"] < 0.15
    one = task.decode(predictions)[0]
    assert one["alarm"] == (one["score"] > task.threshold)
    assert "b" not in one["scores"]
    assert ("a" in one["scores"]) == (task.method != "disagreement")


def _standardised(values, rows):
    """As the first batch scales: float64 moments of the rows that are there."""
    mean, deviation = values[rows].mean(0), values[rows].std(0)
    least = 0.1 * np.sqrt(np.mean(deviation**2))
    return (values - mean) / np.maximum(deviation, least)


def test_the_sphere_is_that_of_float64():
    task = _task("svdd", hidden=0, nu=0.2, boundary="soft")
    a, b, labels = _rows(24, 3, (0, 0, 1))
    rows = np.arange(24) < 20
    fused, batch = _given(a, b, labels, missing=[1], rows=rows)
    first = task.init(jax.random.key(1), fused, batch, train=False)
    given = {**first, "clock": {"progress": jnp.ones(())}}

    def apply(params, state):
        variables = {**given, "params": params, "normal": state}
        output, new = task.apply(variables, fused, batch, train=True, mutable=["normal"])
        return output.loss, (output, new["normal"])

    step = jax.jit(jax.value_and_grad(apply, has_aux=True))
    (_, (_, once)), _ = step(first["params"], first["normal"])
    (loss, (output, state)), gradient = step(first["params"], once)
    here = {"a": np.ones(24, bool), "b": np.arange(24) != 1, "fused": np.ones(24, bool)}
    pooled = np.asarray(fused.pooled, np.float64)
    vectors = {"a": a.astype(np.float64), "b": b.astype(np.float64), "fused": pooled}
    normal = rows & (labels == 0)
    expected, relative, slopes = 0.0, 0.0, {}
    for part, values in vectors.items():
        kernel = np.asarray(first["params"][f"{part}_sphere"]["embedding"]["kernel"].value)
        scaled = _standardised(values, here[part])
        mapped = scaled @ kernel.astype(np.float64)
        kept = normal & here[part]
        centre = mapped[kept].mean(0)
        centre = np.where(np.abs(centre) < 0.1, np.where(centre < 0, -0.1, 0.1), centre)
        np.testing.assert_allclose(state[f"{part}_centre"], centre, rtol=1e-4, atol=1e-5)
        squared = ((mapped - centre) ** 2).sum(1)
        radius = np.quantile(np.sqrt(squared[kept]), 0.8)
        np.testing.assert_allclose(state[f"{part}_radius"], radius, rtol=1e-4)
        over = np.maximum(squared - radius**2, 0)
        expected += (kept * (radius**2 + over / 0.2)).sum() / 3 / normal.sum()
        relative += (squared[kept] / (centre**2).sum()).sum() / 3
        # Of the hinge only rows outside have a slope: 2 (Wx - c) x / nu.
        outer = (kept & (squared > radius**2)).astype(float)[:, None]
        slopes[part] = scaled.T @ (2 * outer * (mapped - centre)) / 0.2 / 3 / normal.sum()
        if part == "a":
            score = squared - radius**2
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(output.metrics["relative_distance"]) == pytest.approx(relative, rel=1e-4)
    assert float(output.weight) == normal.sum()
    np.testing.assert_allclose(output.predictions["score/a"], score, rtol=1e-3, atol=1e-4)
    assert np.isnan(output.predictions["score/b"][1])
    for part, slope in slopes.items():
        own = gradient[f"{part}_sphere"]["embedding"]["kernel"].value
        np.testing.assert_allclose(own, slope, rtol=1e-3, atol=1e-4)


def test_reconstruction_and_its_gradient_are_those_of_float64():
    task = _task("reconstruction", hidden=0, width=2)
    a, b, labels = _rows(12, 4, (0, 0, 0, 2))
    fused, batch = _given(a, b, labels)
    variables = task.init(jax.random.key(2), fused, batch, train=False)

    def loss(params):
        given = {**variables, "params": params}
        return task.apply(given, fused, batch, train=True, mutable=["normal"])[0].loss

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    heads = variables["params"]["autoencoder"]
    down = np.asarray(heads["bottleneck"]["kernel"].value, np.float64)
    rows = np.ones(12, bool)
    whole = _standardised(np.asarray(fused.pooled, np.float64), rows)
    kept, expected, slope = labels == 0, 0.0, np.zeros_like(down)
    for part, values in (("a", a), ("b", b)):
        up = np.asarray(heads[f"{part}_again"]["kernel"].value, np.float64)
        off = whole @ down @ up - _standardised(values.astype(np.float64), rows)
        expected += (off[kept] ** 2).mean() / 2
        slope += whole[kept].T @ (2 * off[kept] @ up.T) / WIDTH / 2 / kept.sum()
    assert float(value) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(
        gradient["autoencoder"]["bottleneck"]["kernel"].value, slope, rtol=1e-3, atol=1e-5
    )


def test_memory_is_scikit_learns():
    rng = np.random.default_rng(5)
    bank, asked = rng.normal(size=(50, 5)), rng.normal(size=(7, 3, 5))
    valid = rng.random((7, 3)) < 0.7
    valid[0] = False
    valid[1] = True
    found = normal_memory.nearest_distance(
        jnp.asarray(asked, jnp.float32), jnp.asarray(valid), bank, neighbours=3
    )
    apart, _ = NearestNeighbors(n_neighbors=3).fit(bank).kneighbors(asked.reshape(-1, 5))
    expected = np.where(valid, apart.mean(1).reshape(7, 3), 0).max(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[0] == 0
    mean, whitening = normal_memory.gaussian(bank, 1e-9)
    theirs = EmpiricalCovariance().fit(bank).mahalanobis(asked.reshape(-1, 5)).reshape(7, 3)
    found = normal_memory.mahalanobis(jnp.asarray(asked), jnp.asarray(valid), mean, whitening)
    expected = np.where(valid, np.sqrt(theirs), 0).max(1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    kept = normal_memory.unpacked(json.loads(json.dumps(normal_memory.packed(bank))))
    np.testing.assert_array_equal(kept, bank.astype(np.float32))


def test_a_coreset_is_the_greedy_one():
    vectors = np.random.default_rng(6).normal(size=(40, 3)).astype(np.float32)
    chosen = [int(((vectors - vectors.mean(0)) ** 2).sum(1).argmin())]
    while len(chosen) < 9:
        apart = np.linalg.norm(vectors[:, None] - vectors[chosen][None], axis=-1).min(1)
        chosen.append(int(apart.argmax()))
    assert normal_memory.coreset(vectors, 9).tolist() == sorted(chosen)
    assert normal_memory.coreset(vectors, 40).tolist() == list(range(40))
    same = normal_memory.coreset(np.zeros((5, 2), np.float32), 3)
    assert len(set(same.tolist())) == 3


def test_what_cannot_be_compared_or_is_not_named_is_refused():
    a, b, labels = _rows(4, 7)
    fused, batch = _given(a, b, labels)
    alone = fused.replace(values=fused.values[:, :1], mask=fused.mask[:, :1], spans={"a": (0, 1)})
    with pytest.raises(ConfigError, match="no other modality"):
        _task("disagreement").init(jax.random.key(0), alone, batch, train=False)
    with pytest.raises(ConfigError, match="no label 'usual'"):
        _task("svdd", normal="usual").init(jax.random.key(0), fused, batch, train=False)


def _frame(rows=48):
    a, b, labels = _rows(rows, 8, (0, 0, 0, 0, 0, 1))
    split = np.resize(["train", "train", "validation", "test"], rows)
    # Nothing but normal rows, and one that is known not to be, to learn from.
    labels_of = [NAMES[one] for one in labels]
    columns = {f"a{i}": a[:, i].tolist() for i in range(WIDTH)}
    columns |= {f"b{i}": b[:, i].tolist() for i in range(WIDTH)}
    for i in range(WIDTH):
        columns[f"b{i}"][3] = None
    return {**columns, "split": split.tolist(), "kind": labels_of}


def _config(**changes):
    target = Spec("category", column="kind", names=NAMES)
    names = ("a", "b")
    return Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities={
                name: Spec("table", numbers=tuple(f"{name}{i}" for i in range(WIDTH)))
                for name in names
            },
            targets=changes.pop("targets", {"label": target}),
            split=SplitConfig(column="split"),
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={name: Spec("table", width=8, depth=0) for name in names},
            fusion=Spec("side_by_side", width=8),
        ),
        task=Spec("anomaly", method="nearest", width=4, hidden=8, memory_size=10),
        optimizer=OptimizerConfig(learning_rate=1e-3),
        train=TrainConfig(duration="2 steps", best_metric="loss", log_every="1 steps"),
    )


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    with tiny_run.one_device():
        yield


def test_a_run_remembers_its_training_rows(tmp_path):
    frame = _frame()
    mmjax.train(_config(), tmp_path / "run", frame=frame)
    run = mmjax.load_run(tmp_path / "run")
    task = run.module.task
    bank = normal_memory.unpacked(task.memory["a"]["bank"])
    assert bank.shape == (10, 8)
    found = run.predict(frame)
    metrics = run.evaluate(frame)
    assert metrics["auroc"] == pytest.approx(
        roc_auc_score([one != "normal" for one in frame["kind"]], [one["score"] for one in found])
    )
    assert metrics["auroc"] > 0.9
    assert {"test", "validation"} <= set(run.metrics)
    assert run.metrics["validation"]["false_alarm_rate"] <= 0.05
    assert "b" not in found[3]["scores"]
    alone = run.predict_one(**{name: frame[name][5] for name in frame if name[0] in "ab"})
    assert alone["scores"] == pytest.approx(found[5]["scores"], abs=1e-4)
    assert isinstance(alone["alarm"], bool)
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
def test_rows_without_labels_are_enough(tmp_path):
    frame = _frame()
    mmjax.train(_config(targets={}), tmp_path / "run", frame=frame)
    run = mmjax.load_run(tmp_path / "run")
    assert run.metrics["test"].keys() >= {"alarm_rate", "threshold", "loss"}
    assert run.module.task.threshold == run.metrics["validation"]["threshold"]
    assert all(isinstance(one["alarm"], bool) for one in run.predict(frame))
