"""Extractive question answering: loss, best spans, and a run with pictures missing."""

from __future__ import annotations

import dataclasses
import json

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
from mmjax.core.types import Batch, Fused
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.tasks.extractive_qa import ExtractiveQA

TEXTS = ["the red fox ran", "no one is here", "a cat, a dog", "", "x y z w"]
WORDS = [text.replace(",", " ,").split() for text in TEXTS]
ANSWERS = [[(4, 11), (4, 7)], [], [(9, 12)], [], [(40, 44)]]
"""The last is beyond the tokens."""
TOKENS = 8


def _offsets() -> np.ndarray:
    found = np.zeros((6, TOKENS, 2), np.int32)
    for row, text in enumerate(TEXTS):
        at = 0
        for i, word in enumerate(WORDS[row]):
            at = text.index(word, at)
            found[row, i + 1] = at, at + len(word)
            at += len(word)
    return found


OFFSETS = _offsets()
TARGETS = np.full((6, 3, 2), -1, np.int32)
for _row, _answers in enumerate(ANSWERS):
    for _i, _one in enumerate(_answers):
        TARGETS[_row, _i] = _one
BATCH = Batch(
    {"context": {"offsets": OFFSETS}}, {}, {"label": TARGETS}, np.arange(6) < 5, np.arange(6)
)
RNG = np.random.default_rng(0)
SPAN, NONE = RNG.normal(size=(6, TOKENS, 2)), RNG.normal(size=(6, 2))
# First and last token of the first answer, 0 for none: the softmax runs over none and the tokens.
PLACES = [(2, 3), None, (5, 5), None, None]


def _losses(span, none):
    """A row at a time, over its own tokens alone."""
    found = []
    for row, place in enumerate(PLACES):
        valid = [i for i in range(TOKENS) if OFFSETS[row, i, 1] > OFFSETS[row, i, 0]]
        if none is None and place is None:
            continue
        total = 0.0
        for side in range(2):
            logits = [span[row, i, side] for i in valid]
            logits = [none[row, side], *logits] if none is not None else logits
            own = none[row, side] if place is None else span[row, place[side], side]
            total -= own - np.log(np.exp(logits).sum())
        found.append(total / 2)
    return np.mean(found)


@pytest.mark.parametrize("unanswerable", [0, 2])
def test_loss_and_gradients(unanswerable):
    task = ExtractiveQA(unanswerable=unanswerable)
    outputs = {"span": jnp.asarray(SPAN, jnp.float32)}
    if unanswerable:
        outputs["none"] = jnp.asarray(NONE, jnp.float32)
    run = jax.jit(jax.value_and_grad(lambda x: task.output(x, BATCH).loss))
    value, grads = run(outputs)
    none = NONE if unanswerable else None
    assert float(value) == pytest.approx(_losses(SPAN, none), rel=1e-5)
    expected = reference.gradient(lambda x: _losses(x, none), SPAN)
    np.testing.assert_allclose(grads["span"], expected, atol=1e-5)
    if unanswerable:
        expected = reference.gradient(lambda x: _losses(SPAN, x), NONE)
        np.testing.assert_allclose(grads["none"], expected, atol=1e-5)
    assert float(task.output(outputs, BATCH).weight) == (5 if unanswerable else 2)


@pytest.mark.parametrize(("longest", "count"), [(2, 4), (30, 40)])
def test_best_spans_are_those_of_a_search_over_all(longest, count):
    task = ExtractiveQA(unanswerable=1, max_answer=longest, n_best=count)
    outputs = {"span": jnp.asarray(SPAN, jnp.float32), "none": jnp.asarray(NONE, jnp.float32)}
    found = jax.tree.map(np.asarray, jax.jit(task.output)(outputs, BATCH).predictions)
    assert found["spans"].shape == (6, count, 2)
    for row in range(5):
        valid = [i for i in range(TOKENS) if OFFSETS[row, i, 1] > 0]
        whole = np.concatenate([NONE[row][None], SPAN[row, valid]])
        log_p = whole - np.log(np.exp(whole).sum(axis=0))
        assert found["none"][row] == pytest.approx(log_p[0].sum(), abs=1e-5)
        expected = sorted(
            (
                (
                    log_p[1 + i, 0] + log_p[1 + j, 1],
                    OFFSETS[row, valid[i], 0],
                    OFFSETS[row, valid[j], 1],
                )
                for i in range(len(valid))
                for j in range(i, min(i + longest, len(valid)))
            ),
            reverse=True,
        )[:count]
        np.testing.assert_array_equal(
            found["spans"][row, : len(expected)], np.array([e[1:] for e in expected]).reshape(-1, 2)
        )
        np.testing.assert_allclose(
            found["scores"][row, : len(expected)], [e[0] for e in expected], atol=1e-5
        )
        assert (found["spans"][row, len(expected) :] == -1).all()


def _said(spans, none):
    return {
        "spans": np.array(spans, np.int32)[:, None],
        "scores": np.log(np.full((len(spans), 1), 0.5)),
        "none": np.log(np.array(none)),
    }


def test_sums_metrics_and_decode_with_a_margin():
    task = ExtractiveQA(unanswerable=1, n_best=1)
    outputs = {"span": jnp.asarray(SPAN, jnp.float32), "none": jnp.asarray(NONE, jnp.float32)}
    output = task.output(outputs, BATCH)
    predictions = {k: np.asarray(v)[:5] for k, v in output.predictions.items()}
    decoded = task.decode(predictions, {"context": TEXTS})
    found = task.compute({k: np.asarray(v) for k, v in output.metrics.items()})
    right = [
        (one["start"], one["end"]) in answers if answers else one["start"] is None
        for one, answers in zip(decoded, ANSWERS, strict=True)
    ]
    assert found["span_exact"] == pytest.approx(np.mean(right))
    assert found["span_exact"] <= found["span_f1"] <= 1
    said = _said([(4, 7), (0, 2), (9, 12), (-1, -1), (0, 3)], [0.1, 0.6, 0.4, 0.9, 0.7])
    targets = {"label": TARGETS[:5]}
    assert task.evaluate(said, targets, {"context": [*TEXTS[:4], "x" * 50]}) == pytest.approx(
        {
            "exact_match": 0.8,
            "f1": 0.8,
            "answerable_exact_match": 2 / 3,
            "answerable_f1": 2 / 3,
            "unanswerable_accuracy": 1.0,
        }
    )
    assert task.evaluate(said, targets) == {}
    first, second, *_ = task.decode(said, {"context": TEXTS})
    assert (first["answer"], first["start"], first["end"]) == ("red", 4, 7)
    assert first["probability"] == pytest.approx(0.5)
    assert (second["answer"], second["start"]) == ("", None)
    assert second["answers"][0]["answer"] == "no"
    bold = dataclasses.replace(task, margin=0.5).decode(said, {"context": TEXTS})
    assert [one["answer"] for one in bold] == ["red", "no", "dog", "", "x y"]
    assert "answer" not in task.decode(said)[0]


def test_the_margin_is_the_best_of_all():
    task = ExtractiveQA(unanswerable=1, n_best=1)
    rng = np.random.default_rng(1)
    spans = np.where(rng.random((40, 1)) < 0.7, (4, 7), (0, 1))
    truth = np.where((rng.random(40) < 0.5)[:, None, None], [[[4, 7]]], [[[-1, -1]]])
    said = _said(spans, np.round(rng.random(40), 1) + 0.05)
    margin = task.tune(said, {"label": truth})["margin"]
    lead = said["none"] - said["scores"][:, 0]
    has = truth[:, 0, 0] >= 0
    right = has & (spans == truth[:, 0]).all(axis=1)

    def score(cut):
        return np.where(lead > cut, ~has, right).sum()

    assert score(margin) == max(score(cut) for cut in [*lead, lead.min() - 1])
    assert ExtractiveQA().tune(said, {"label": truth}) == {}


def test_the_head_and_what_it_needs():
    fused = Fused(
        jnp.ones((2, 5, 4)),
        jnp.ones((2, 5), bool),
        jnp.ones((2, 4)),
        {"q": (0, 2), "context": (2, 5)},
    )
    task = ExtractiveQA(unanswerable=1, hidden=3, dtype=jnp.bfloat16)
    made = jax.eval_shape(
        lambda: task.init_with_output(jax.random.key(0), fused, train=False, method="head_outputs")
    )
    assert made[0]["span"].shape == (2, 3, 2)
    assert made[0]["none"].shape == (2, 2)
    with pytest.raises(ConfigError, match="'text', which the model does not have"):
        dataclasses.replace(task, text="text").init(
            jax.random.key(0), fused, train=False, method="head_outputs"
        )
    with pytest.raises(ConfigError, match="offsets"):
        task.output({"span": jnp.ones((2, 3, 2))}, Batch({}, {}, {}, np.ones(2), np.ones(2)))


def _write(folder):
    places, colours = ("house", "lake", "tree"), ("red", "blue", "green")
    lines = []
    for i in range(24):
        colour, place = colours[i % 3], places[i // 3 % 3]
        context = f"The {colour} bird sat by the {place}."
        answer = "" if i % 4 == 3 else colour if i % 2 else place
        asked = {"": "who sang", colour: "which colour", place: "sat by what"}[answer]
        start = [context.index(answer)] if answer else []
        lines.append(
            json.dumps(
                {
                    "question": asked,
                    "context": context,
                    "picture": None if i % 5 == 0 else f"{i}.png",
                    "answers": {"text": [answer] if answer else [], "answer_start": start},
                }
            )
        )
    for i, row in enumerate(tiny_run.rows_of(24)):
        tiny_run.PIL.Image.fromarray(row["picture"]).save(folder / f"{i}.png")
    path = folder / "data.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
def test_a_run(tmp_path, fast):
    config = tiny_run.config(
        _write(tmp_path),
        "train.duration=2 steps",
        "train.evaluate_every=2 steps",
        "train.best_metric=f1",
    )
    text = Spec("text_transformer", width=8, depth=1, heads=2, mlp_dim=8)
    config = dataclasses.replace(
        config,
        data=DataConfig(
            source=Spec("jsonl", path=str(tmp_path / "data.jsonl")),
            modalities={
                "question": Spec("text", column="question", vocab_size=60, max_length=6),
                "context": Spec(
                    "text", column="context", vocab_size=60, max_length=12, offsets=True
                ),
                "image": config.data.modalities["image"],
            },
            targets={"label": Spec("answer_spans", column="answers", also=("context",))},
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                "question": text,
                "context": text,
                "image": config.model.encoders["image"],
            },
            fusion=Spec("concat", width=8),
        ),
        task=Spec("extractive_qa", n_best=3, hidden=8),
    )
    train(config, tmp_path / "run")
    run = load_run(tmp_path / "run")
    found = run.evaluate()
    one = run.predict_one(question="which colour", context="The red bird sat by the lake.")
    rows = run.predict(split="test")
    assert {"exact_match", "f1", "span_exact", "span_f1", "unanswerable_accuracy"} <= set(found)
    assert len(one["answers"]) == 3
    for listed in one["answers"]:
        assert listed["answer"] == "The red bird sat by the lake."[listed["start"] : listed["end"]]
    assert 0 < one["no_answer"] < 1
    assert all(isinstance(row["answer"], str) for row in rows)
    assert (tmp_path / "run" / "report.html").is_file()
