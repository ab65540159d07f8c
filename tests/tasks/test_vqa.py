"""Visual question answering: the loss, the metrics, and a run with pictures missing."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import tiny_run

from mmjax.api.run import load_run
from mmjax.api.training import train
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.metrics.vqa import vqa
from mmjax.tasks.vqa import VQA

NAMES = ("yes", "no", "red", "2")
GIVEN = [
    ["yes"] * 10,
    ["no"] * 4 + ["yes"] * 3 + ["red"] * 2 + ["?"],
    ["red"],
    ["?"] * 10,
    ["2", "no"] * 2,
    ["no"] * 10,
]
"""The last row is padding."""
TYPES = ["yes/no", "yes/no", "other", "other", "other", "yes/no"]
KINDS = ("other", "yes/no")


def _target() -> np.ndarray:
    rows = np.full((len(GIVEN), 12), -2, np.int32)
    for i, given in enumerate(GIVEN):
        ids = [NAMES.index(a) if a in NAMES else -1 for a in given]
        rows[i, 0], rows[i, 1] = KINDS.index(TYPES[i]), ids[0]
        rows[i, 2 : 2 + len(ids)] = ids
    return rows


BATCH = Batch({}, {}, {"label": _target()}, np.arange(6) < 5, np.arange(6))
LOGITS = np.random.default_rng(0).normal(size=(6, 4))


def _task(**options) -> VQA:
    return VQA(num_answers=4, answer_names=NAMES, type_names=KINDS, **options)


def _scores() -> np.ndarray:
    return np.array([[min(g.count(n) / min(3, len(g)), 1.0) for n in NAMES] for g in GIVEN])


def _binary(logits):
    p = 1 / (1 + np.exp(-logits))
    s = _scores()
    return -(s * np.log(p) + (1 - s) * np.log(1 - p))[:5].sum(axis=1).mean()


def _softmax(logits):
    s = _scores()[[0, 1, 2, 4]]
    log_p = np.log(reference.softmax(logits[[0, 1, 2, 4]]))
    return -((s / s.sum(axis=1, keepdims=True)) * log_p).sum(axis=1).mean()


@pytest.mark.parametrize(
    ("loss", "expected", "weight"), [("binary", _binary, 5), ("softmax", _softmax, 4)]
)
def test_loss_and_gradient(loss, expected, weight):
    task = _task(loss=loss)
    logits = jnp.asarray(LOGITS, jnp.float32)
    value, grads = jax.value_and_grad(lambda x: task.output(x, BATCH).loss)(logits)
    assert float(value) == pytest.approx(expected(LOGITS), rel=1e-5)
    np.testing.assert_allclose(grads, reference.gradient(expected, LOGITS), atol=1e-5)
    assert float(task.output(logits, BATCH).weight) == weight


def test_metrics_are_those_of_the_answers_themselves():
    task = _task()
    output = task.output(jnp.asarray(LOGITS, jnp.float32), BATCH)
    said = [NAMES[i] for i in LOGITS.argmax(axis=1)]
    found = task.compute({k: np.asarray(v) for k, v in output.metrics.items()})
    expected = vqa(said[:5], GIVEN[:5], types=TYPES[:5])
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=1e-6)
    assert task.evaluate({}, {}) == {}


def test_truth_is_answered_rightly():
    for loss in ("binary", "softmax"):
        task = _task(loss=loss)
        truth = np.asarray(task.truth(BATCH))
        scores = _scores()
        whole = np.maximum(scores.sum(axis=1, keepdims=True), 1e-9) if loss == "softmax" else 1.0
        np.testing.assert_allclose(truth, scores / whole, atol=1e-6)
        assert task.outputs_are == ("labels" if loss == "binary" else "classes")


def test_decode():
    chances = np.array([[0.1, 0.7, 0.7, 0.2]])
    assert _task(top_k=2).decode({"probabilities": chances}) == [
        {
            "answer": "no",
            "probability": 0.7,
            "answers": [
                {"answer": "no", "probability": 0.7},
                {"answer": "red", "probability": 0.7},
            ],
        }
    ]
    with pytest.raises(ConfigError, match="top_k = 0"):
        _task(top_k=0).decode({"probabilities": chances})


def test_a_run(tmp_path, fast):
    path = tiny_run.write_data(tmp_path, 24)
    rows = tiny_run.read_rows(path)
    for row in rows[::5]:
        row["picture"] = ""
    tiny_run.write_rows(path, rows)
    config = tiny_run.config(path, "train.duration=2 steps", "train.evaluate_every=2 steps")
    target = Spec("answers", column="kind", also=("place",))
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, targets={"label": target}),
        task=Spec("vqa", loss="softmax", top_k=2),
    )
    train(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    found = run.evaluate()
    answer = run.predict_one(text="wing feather")
    predictions = run.predict(split="test")
    assert {"vqa_accuracy/land", "vqa_accuracy/sea", "upper_bound"} <= set(found)
    assert found["vqa_accuracy"] == found["accuracy"]
    assert answer["answer"] in tiny_run.LABELS
    assert len(answer["answers"]) == 2
    truth = {row["id"]: row["kind"] for row in rows}
    hits = [one["answer"] == truth[one["id"]] for one in predictions]
    assert found["accuracy"] == pytest.approx(np.mean(hits))
    assert (tmp_path / "run" / "report.html").is_file()
