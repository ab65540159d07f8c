"""Recommendation: its losses, and runs from a catalogue to lists, alone and in sequence."""

from __future__ import annotations

import csv

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import tiny_run

import mmjax
from mmjax import tasks
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Fused
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.models.two_tower import TwoTower
from mmjax.tasks.item_losses import bpr, full_softmax, in_batch_softmax, pointwise
from mmjax.tasks.recommendation import Items, Queries
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

RNG = np.random.default_rng(0)


def _softplus(x):
    return np.logaddexp(0, x)


def _numeric_gradient(function, at, eps=1e-6):
    """Central differences in float64."""
    at = np.asarray(at, np.float64)
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[index] += eps
        down[index] -= eps
        gradient[index] = (function(up) - function(down)) / (2 * eps)
    return gradient


ROWS, OTHERS, COUNT = 4, 3, 6
SCORES = RNG.normal(size=(ROWS, 1 + OTHERS))
VALID = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0], [0, 1, 1]], bool)
LOGITS = RNG.normal(size=(ROWS, ROWS))
CHOSEN = np.array([2, 0, 2, 5], np.int32)
LOG_Q = np.log(RNG.random(ROWS))
HERE = np.array([True, True, True, False])
KNOWN = np.zeros((ROWS, ROWS), bool)
KNOWN[0, 1] = True
WHOLE = RNG.normal(size=(ROWS, COUNT))
HIDDEN = RNG.random((ROWS, COUNT)) < 0.4


def _bpr(s):
    terms = np.where(VALID, _softplus(s[:, 1:] - s[:, :1]), 0).sum(1)
    return (terms / np.maximum(VALID.sum(1), 1)).sum()


def _pointwise(s):
    return (_softplus(-s[:, 0]) + np.where(VALID, _softplus(s[:, 1:]), 0).sum(1)).sum()


def _in_batch(logits):
    total = 0.0
    for row in range(ROWS):
        kept = [
            j
            for j in range(ROWS)
            if j == row or (HERE[j] and CHOSEN[j] != CHOSEN[row] and not KNOWN[row, j])
        ]
        corrected = logits[row] - LOG_Q
        total += np.log(np.exp(corrected[kept]).sum()) - corrected[row]
    return total


def _full(logits):
    total = 0.0
    for row, item in enumerate(CHOSEN):
        kept = [j for j in range(COUNT) if j == item or not HIDDEN[row, j]]
        total += np.log(np.exp(logits[row, kept]).sum()) - logits[row, item]
    return total


def _given(function, *arguments):
    return lambda x: function(*x, *map(jnp.asarray, arguments))


LOSSES = {
    "bpr": (lambda s: _given(bpr, VALID)((s[:, 0], s[:, 1:])), _bpr, SCORES),
    "pointwise": (lambda s: _given(pointwise, VALID)((s[:, 0], s[:, 1:])), _pointwise, SCORES),
    "in_batch": (
        lambda x: _given(in_batch_softmax, CHOSEN, np.float32(LOG_Q), HERE, KNOWN)((x,)),
        _in_batch,
        LOGITS,
    ),
    "softmax": (lambda x: _given(full_softmax, CHOSEN, HIDDEN)((x,)), _full, WHOLE),
}


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_those_of_float64(name):
    loss, reference, given = LOSSES[name]
    value, gradient = jax.value_and_grad(lambda x: loss(x).sum())(jnp.asarray(given, jnp.float32))
    assert float(value) == pytest.approx(reference(given), rel=1e-5)
    np.testing.assert_allclose(gradient, _numeric_gradient(reference, given), atol=1e-5)


def _task(**options):
    facts = {"num_items": COUNT, "item_counts": (3, 1, 2, 0, 4, 1), "item_names": tuple("abcdef")}
    return tasks.registry.build("recommendation", facts=facts, **options)


def _train_output(task, *, seen, key=0):
    vectors, users = RNG.normal(size=(COUNT, 2)), RNG.normal(size=(2, 2))
    bias = RNG.normal(size=COUNT)
    items = Items(
        lambda at: (jnp.asarray(vectors)[at], jnp.asarray(bias)[at]),
        lambda: (jnp.asarray(vectors), jnp.asarray(bias)),
    )
    rows = jnp.arange(2)
    queries = Queries(jnp.asarray(users), jnp.array([4, 1]), rows, jnp.ones(2))
    bits = np.packbits(seen, axis=1)
    batch = Batch({"history": {"seen": bits}}, {}, {}, np.ones(2, bool), np.arange(2))
    output = task.train_output(queries, items, batch, jax.random.key(key))
    return output, users @ vectors.T + bias


def test_negatives_that_were_seen_do_not_count():
    seen = np.ones((2, COUNT), bool)
    seen[0, 3] = False
    output, scores = _train_output(_task(negatives=64), seen=seen)
    # Of the first row one item is left to draw, of the second none.
    expected = _softplus(scores[0, 3] - scores[0, 4]) / 2
    assert float(output.loss) == pytest.approx(expected, rel=1e-5)
    assert float(output.weight) == 2


def test_log_q_is_how_often_the_training_rows_chose_an_item():
    seen = np.zeros((2, COUNT), bool)
    output, scores = _train_output(_task(loss="in_batch"), seen=seen)
    corrected = scores[:, [4, 1]] - np.log(np.array([4, 1]) / 12)
    expected = np.mean(np.log(np.exp(corrected).sum(1)) - np.diagonal(corrected))
    assert float(output.loss) == pytest.approx(expected, rel=1e-5)


def test_lists_are_decoded_without_what_there_is_not():
    found = _task().decode(
        {"items": np.array([[2, 0], [1, 3]]), "scores": np.array([[1.5, 1.0], [0.5, -np.inf]])}
    )
    assert found == [
        {"items": ["c", "a"], "scores": [1.5, 1.0]},
        {"items": ["b"], "scores": [0.5]},
    ]


def test_what_was_seen_must_be_a_history():
    batch = Batch({"text": {"input_ids": np.zeros((1, 1))}}, {}, {}, np.ones(1), np.zeros(1))
    with pytest.raises(ConfigError, match=r"task\.seen"):
        _task(seen="text").seen_items(batch)


FILMS = [f"f{i}" for i in range(10)]
COLD = "f9"


def _write(folder):
    """Two kinds of films, users who watch one kind; `f9` is of the first, and nobody's yet."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    with (folder / "films.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["film", "title", "poster"])
        for index, film in enumerate(FILMS):
            kind = 0 if film == COLD else index % 2
            poster = f"{film}.png"
            pixels = rng.integers(0, 90, (8, 8, 3)) + np.array([[[120, 0, 0], [0, 0, 120]][kind]])
            PIL.Image.fromarray(pixels.astype(np.uint8)).save(folder / poster)
            title = ["red dawn rising", "blue sea deep"][kind]
            lines.writerow(
                [film, "" if index == 3 else title, "" if film in ("f2", COLD) else poster]
            )
    with (folder / "rows.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["user", "age", "watched", "film", "split"])
        for user in range(24):
            kind = user % 2
            own = [f for i, f in enumerate(FILMS) if i % 2 == kind and f != COLD]
            order = [str(one) for one in rng.permutation(own)]
            split = ("train", "train", "train", "validation", "test")[user % 5]
            wanted = order[-1]
            if split == "test":
                wanted = "|".join(order[-2:])
            history = order[: -2 if split == "test" else -1]
            lines.writerow(
                [f"u{user}", "" if user % 3 == 0 else 20 + user, "|".join(history), wanted, split]
            )
    return folder


def _config(folder, **task):
    films = Spec("csv", path=str(folder / "films.csv"))
    name = task.pop("name", "recommendation")
    sequential = name != "recommendation"
    modalities = {
        "title": Spec("text", column="title", tokenizer="subwords", max_length=24, buckets=32),
        "poster": Spec("image", columns=("poster",), size=8),
    }
    encoders = {
        "title": Spec("bag_of_subwords", width=8),
        "poster": Spec("image_cnn", channels=(8,), blocks=(0,), groups=4, width=8),
    }
    if sequential:
        del modalities["poster"], encoders["poster"]
    user = {} if sequential else {"user": Spec("table", depth=0, width=8, dropout=0.0)}
    data = {} if sequential else {"user": Spec("table", numbers=("age",))}
    return Config(
        data=DataConfig(
            source=Spec("csv", path=str(folder / "rows.csv")),
            modalities={
                **data,
                "history": Spec(
                    "items", column="watched", items=films, key="film", max_length=4, separator="|"
                ),
            },
            targets={
                "item": Spec(
                    "item",
                    column="film",
                    items=films,
                    key="film",
                    most=2,
                    separator="|",
                    modalities=modalities,
                )
            },
            split=SplitConfig(column="split"),
            id_column="user",
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                **user,
                "history": Spec(
                    "item_sequence",
                    depth=int(sequential),
                    width=8,
                    mlp_dim=8,
                    pooling="last" if sequential else "mean",
                ),
            },
            fusion=Spec(
                "two_tower",
                width=8,
                id_dropout=0.5,
                items=encoders,
            ),
        ),
        task=Spec(name, top=4, ks=(1, 2, 5), chunk=4, **task),
        optimizer=OptimizerConfig(learning_rate=3e-2),
        train=TrainConfig(
            duration="40 steps",
            evaluate_every="20 steps",
            save_every="20 steps",
            best_metric="ndcg@2",
        ),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def run(folder):
    with tiny_run.one_device():
        return mmjax.train(_config(folder, loss="in_batch"), folder / "run")


def test_a_run_ranks_the_whole_catalogue(run, folder):
    with tiny_run.one_device():
        again = mmjax.load_run(run.folder.path)
        metrics = again.evaluate()
        evaluation = again.evaluation()
        lists = again.predict(split="test")
    rows = [row for row in tiny_run.read_rows(folder / "rows.csv") if row["split"] == "test"]
    assert metrics["users"] == len(rows)
    assert metrics["hit_rate@5"] == 1.0
    assert metrics["auc"] > 0.8
    hits, ranks = [], evaluation.predictions["ranks"]
    for row, one, rank in zip(rows, lists, ranks, strict=True):
        assert one["id"] == row["user"]
        assert not set(one["items"]) & set(row["watched"].split("|"))
        assert one["scores"] == sorted(one["scores"], reverse=True)
        wanted = row["film"].split("|")
        found = [one["items"].index(film) + 1 for film in wanted if film in one["items"]]
        assert found == [r for r in rank.tolist() if r <= 4]
        hits.append(bool(set(one["items"][:2]) & set(wanted)))
    assert metrics["hit_rate@2"] == pytest.approx(np.mean(hits))
    assert (run.folder.path / "report.html").is_file()
    assert {"validation", "test"} <= set(run.metrics)


def test_someone_new_is_recommended_a_film_that_nobody_has_seen_yet(run):
    with tiny_run.one_device():
        red = run.predict_one(history="f0|f2|f4|f6|f8")
        blue = run.predict_one(history=["f1", "f3", "f5"])
        nobody = run.predict_one(age="30")
    assert red["items"][0] == COLD
    assert blue["items"][0] == "f7"
    assert len(nobody["items"]) == 4


@pytest.mark.slow
def test_a_history_is_asked_at_every_place(folder):
    with tiny_run.one_device():
        found = mmjax.train(_config(folder, name="sequential_recommendation"), folder / "sequence")
        answer = found.predict_one(history=["f1", "f3", "f5"])
    assert found.metrics["test"]["auc"] > 0.8
    assert answer["items"][0] == "f7"


def test_an_item_that_the_catalogue_does_not_have_is_named(run, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("user,age,watched,film\nu1,30,f1,f77\n")
    with tiny_run.one_device(), pytest.raises(DataError, match=r"no item 'f77'.*other\.csv"):
        run.evaluate(path)


def test_models_that_cannot_recommend_say_so():
    empty = Batch({}, {}, {}, np.ones(1, bool), np.arange(1))
    fused = Fused(jnp.ones((1, 1, 2)), jnp.ones((1, 1), bool), jnp.ones((1, 2)), {})
    with pytest.raises(ConfigError, match="two_tower"):
        _task().head_outputs(fused, train=False)
    with pytest.raises(ConfigError, match=r"for \['title'\], and the catalogue has \[\]"):
        TwoTower(encoders={}, task=_task(), items={"title": Spec("bag_of_subwords")}).init(
            jax.random.key(0), empty, train=False
        )
    with pytest.raises(ConfigError, match="Classification"):
        TwoTower(encoders={}, task=tasks.build("classification", num_labels=2)).init(
            jax.random.key(0), empty, train=False
        )
