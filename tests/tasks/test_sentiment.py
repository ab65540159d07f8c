"""Sentiment: losses, heads of single modalities, classes, and a run over dialogues."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import reference
import tiny_run

import mmjax
from mmjax import metrics, tasks
from mmjax.cli import main
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Fused, Tokens
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

ROWS = 8
RNG = np.random.default_rng(0)
VALUES = RNG.normal(0, 1, (ROWS, 1)).astype(np.float32)
TARGETS = (VALUES + RNG.normal(0, 1.5, (ROWS, 1))).astype(np.float32)
TARGETS[2] = np.nan
OWN = RNG.normal(0, 1, (ROWS, 1)).astype(np.float32)
MASK = np.arange(ROWS) < 7
KNOWN = MASK & ~np.isnan(TARGETS[:, 0])
SCALE = {"target_means": (0.4,), "target_deviations": (1.5,)}


def _build(name="sentiment", facts=SCALE, **options):
    return tasks.registry.build(name, facts={"num_targets": 1, **facts}, **options)


def _batch(**targets):
    targets = {"label": TARGETS} | targets
    targets = {name: jnp.asarray(value) for name, value in targets.items()}
    return Batch({}, {}, targets, jnp.asarray(MASK), jnp.arange(ROWS))


def _loss(kind, values, targets=TARGETS, known=KNOWN):
    error = (np.float64(values) - targets)[known]
    size = np.abs(error)
    return {
        "mae": size,
        "mse": error**2,
        "huber": np.where(size <= 0.7, error**2 / 2, 0.7 * (size - 0.35)),
    }[kind].mean()


@pytest.mark.parametrize("kind", ["mae", "mse", "huber"])
def test_losses_and_gradients(kind):
    task = _build(loss=kind, delta=0.7)
    loss, grads = jax.value_and_grad(lambda v: task.output(v, _batch()).loss)(VALUES)
    assert float(loss) == pytest.approx(_loss(kind, VALUES), rel=1e-6)
    wanted = reference.gradient(lambda v: _loss(kind, v), VALUES)
    np.testing.assert_allclose(grads, wanted, atol=1e-6)
    assert not np.asarray(grads)[~KNOWN].any()


def test_metrics_are_in_the_units_of_the_data():
    task = _build()
    output = jax.jit(lambda v: task.output(v, _batch()))(VALUES)
    found = task.evaluate({"values": VALUES[MASK]}, {"label": TARGETS[MASK]})
    in_units = [0.4 + 1.5 * np.float64(one[KNOWN]) for one in (VALUES, TARGETS)]
    assert found == pytest.approx(metrics.sentiment(*in_units), rel=1e-6)
    assert task.compute(jax.device_get(output.metrics)) == pytest.approx(found, rel=1e-5)
    assert float(output.weight) == KNOWN.sum()


def _tokens(width, here):
    values = jnp.asarray(RNG.normal(size=(ROWS, 2, width)), jnp.float32)
    mask = jnp.broadcast_to(jnp.asarray(here)[:, None], (ROWS, 2))
    return Tokens(values, mask, jnp.where(mask[:, :1], values.mean(axis=1), 0))


def test_heads_of_single_modalities():
    absent = np.arange(ROWS) == 1
    tokens = {"audio": _tokens(3, ~absent), "text": _tokens(4, np.ones(ROWS, bool))}
    pooled = jnp.asarray(RNG.normal(size=(ROWS, 5)), jnp.float32)
    fused = Fused(pooled[:, None], jnp.ones((ROWS, 1), bool), pooled, {"text": (0, 1)})
    task = _build(heads={"text": 0.5, "audio": 2.0}, labels={"audio": "heard"})
    batch = _batch(heard=OWN)
    variables = reference.random_variables(task, fused, batch, tokens=tokens, train=False)
    apply = jax.jit(lambda train: task.apply(variables, fused, batch, tokens=tokens, train=train),
                    static_argnums=0)  # fmt: skip
    params = reference.double(variables["params"])
    assert set(params) == {"head", "of_audio", "of_text"}
    said = {
        "fused": reference.dense(params["head"], np.float64(pooled)),
        "text": reference.dense(params["of_text"]["head"], np.float64(tokens["text"].pooled)),
        "audio": reference.dense(params["of_audio"]["head"], np.float64(tokens["audio"].pooled)),
    }
    found = apply(True)
    heard = MASK & ~absent
    extra = 0.5 * _loss("mae", said["text"])
    # The sum over the rows that were heard, over the weight of the whole.
    extra += 2.0 * _loss("mae", said["audio"], OWN, heard) * heard.sum() / KNOWN.sum()
    assert float(found.loss) == pytest.approx(_loss("mae", said["fused"]) + extra, rel=1e-5)
    quiet = apply(False)
    assert float(quiet.loss) == pytest.approx(_loss("mae", said["fused"]), rel=1e-5)
    np.testing.assert_allclose(quiet.predictions["text_values"], said["text"], atol=1e-5)
    heads = np.asarray(quiet.predictions["audio_values"])
    assert np.isnan(heads[absent]).all()
    np.testing.assert_allclose(heads[~absent], said["audio"][~absent], atol=1e-5)
    told = task.compute(jax.device_get(quiet.metrics))
    assert told["audio_mae"] == pytest.approx(_loss("mae", said["audio"], OWN, heard), rel=1e-5)
    assert told["text_mae"] == pytest.approx(1.5 * _loss("mae", said["text"]), rel=1e-5)
    rows = task.decode({k: np.asarray(v) for k, v in quiet.predictions.items()})
    assert list(rows[1]["scores"]) == ["text"]
    heard_score = float(np.clip(said["audio"][0, 0], -3, 3))
    assert rows[0]["scores"]["audio"] == pytest.approx(heard_score, abs=1e-5)
    assert rows[0]["score"] == pytest.approx(0.4 + 1.5 * said["fused"][0, 0], abs=1e-5)
    alone = task.apply(variables, fused, batch, tokens={"text": tokens["text"]}, train=True)
    assert set(alone.predictions) == {"values"}
    wrong = _build(heads={"txt": 1.0})
    with pytest.raises(ConfigError, match=r"no modality of the model.*text"):
        wrong.init(jax.random.key(0), fused, batch, tokens=tokens, train=False)


def test_decode_says_what_is_neutral():
    task = _build(facts={})
    rows = task.decode({"values": np.array([[-9.0], [-0.4], [0.5], [0.6]])})
    assert [row["label"] for row in rows] == ["negative", "neutral", "neutral", "positive"]
    assert rows[0]["score"] == -3.0
    with pytest.raises(ConfigError, match="neutral = -1"):
        _build(neutral=-1.0).init(jax.random.key(0), Fused(None, None, VALUES, {}), train=False,
                                  method="head_outputs")  # fmt: skip


def test_classes_have_scores():
    names = ("negative", "neutral", "positive")
    task = _build("sentiment_classes", {"num_labels": 3, "label_names": names})
    chances = np.random.default_rng(1).dirichlet(np.ones(3), 20)
    truth = np.arange(20) % 3
    found = task.evaluate({"probabilities": chances}, {"label": truth})
    # MMSA: of the rows that are not neutral, whether the larger of the two is the true one.
    told = truth != 1
    right = (chances[told, 2] > chances[told, 0]) == (truth[told] == 2)
    assert found["acc2_non0"] == pytest.approx(right.mean())
    assert found["accuracy"] == pytest.approx((chances.argmax(axis=1) == truth).mean())
    assert "mae" not in found
    row = task.decode({"probabilities": chances[:1]})[0]
    assert row["score"] == pytest.approx(chances[0, 2] - chances[0, 0])
    numbers = _build("sentiment_classes", {"num_labels": 2, "label_names": ("-3", "2")})
    assert numbers.evaluate({"probabilities": np.array([[0.5, 0.5]])}, {"label": np.array([1])})[
        "mae"
    ] == pytest.approx(2.5)
    odd = _build("sentiment_classes", {"num_labels": 2, "label_names": ("good", "bad")})
    with pytest.raises(ConfigError, match="called 'good'"):
        odd.decode({"probabilities": chances[:1, :2]})


def _frame():
    """Eight dialogues of five utterances; some lack their words, some their sound."""
    rng = np.random.default_rng(0)
    scores = rng.integers(-6, 7, 40) / 2
    words = [("bad " if one < 0 else "fine ") + f"w{i % 3}" for i, one in enumerate(scores)]
    return {
        "text": [None if i % 9 == 4 else one for i, one in enumerate(words)],
        "pitch": [None if i % 9 == 7 else float(one) for i, one in enumerate(scores)],
        "talk": [f"t{i // 5}" for i in range(40)],
        "turn": [i % 5 for i in range(40)],
        "score": scores.tolist(),
    }


@pytest.mark.slow
def test_a_run_over_dialogues(tmp_path, monkeypatch, capsys):
    tiny_run.plain_figures(monkeypatch)
    text = {"column": "text", "tokenizer": "subwords", "buckets": 8}
    frame = _frame()
    config = Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities={
                "text": Spec("text", **text),
                "context": Spec("dialogue", dialogue="talk", turn="turn", before=2, **text),
                "audio": Spec("table", numbers=("pitch",)),
            },
            targets={"label": Spec("number", column="score")},
            split=SplitConfig(group="talk", fractions=(0.5, 0.25, 0.25)),
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=8),
                "context": Spec("bag_of_subwords", width=8),
                "audio": Spec("table", width=8, depth=0),
            },
            fusion=Spec("sum", width=8),
        ),
        task=Spec("sentiment", heads={"text": 0.5, "audio": 0.5}),
        optimizer=OptimizerConfig(learning_rate=3e-2),
        train=TrainConfig(duration="3 steps", best_metric="mae", log_every="1 steps"),
    )
    with tiny_run.one_device():
        mmjax.train(config, tmp_path / "run", frame=frame)
        run = mmjax.load_run(tmp_path / "run")
        assert (tmp_path / "run" / "report.html").is_file()
        found = run.predict(frame)
        measured = run.evaluate(frame)
        first = run.predict_one(text=frame["text"][0], pitch=frame["pitch"][0])
        lines = pd.DataFrame({**frame, "day": np.arange(len(found)) // 8})
        lines.to_csv(tmp_path / "new.csv", index=False)
        run_folder, data = str(tmp_path / "run"), str(tmp_path / "new.csv")
        asked = ["--data", data, "--time", "day", "--window", "1"]
        assert main(["trends", run_folder, *asked]) == 0
        assert main(["trends", run_folder, *asked, "--topic", "nobody"]) == 2
    scores = np.array([one["score"] for one in found])
    written = (tmp_path / "run" / "trends.jsonl").read_text().splitlines()
    means = scores.reshape(-1, 8).mean(axis=1)
    assert [json.loads(one)["mean"] for one in written] == pytest.approx(means, abs=1e-4)
    assert f"{len(means)} periods" in capsys.readouterr().out
    assert measured["mae"] == pytest.approx(np.abs(scores - frame["score"]).mean(), rel=1e-5)
    assert {"acc7", "acc2_has0", "f1_non0", "text_mae", "audio_corr"} <= measured.keys()
    # The first utterance of a dialogue has nothing before it, as a single example has.
    assert first["score"] == pytest.approx(found[0]["score"], abs=1e-5)
    assert json.loads(json.dumps(first))["label"] == found[0]["label"]
    assert set(found[4]["scores"]) == {"audio"}
    assert set(found[7]["scores"]) == {"text"}
