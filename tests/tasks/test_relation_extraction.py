"""What two entities of a text are to each other, with a picture that may tell."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from sklearn.metrics import f1_score

from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Fused

RNG = np.random.default_rng(0)
ROWS, LENGTH, WIDTH = 4, 5, 4
NAMES = ("none", "of", "in")
OFFSETS = np.array([[(0, 0), (0, 2), (2, 4), (5, 7), (0, 0)]] * ROWS, np.int32)
MARKS = np.array([[(0, 4), (5, 7)], [(2, 3), (0, 2)], [(5, 7), (90, 92)], [(-1, -1)] * 2], np.int32)
TOKENS = [([1, 2], [3]), ([2], [1]), ([3], []), ([], [])]
LABELS = np.array([1, 0, 2, 1], np.int32)
SETS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]], bool)
MASK = np.array([True, True, True, False])
VALUES = RNG.standard_normal((ROWS, LENGTH, WIDTH)).astype(np.float32)
POOLED = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)
FUSED = Fused(
    jnp.asarray(VALUES), jnp.arange(LENGTH)[None].repeat(ROWS, 0) < 4, jnp.asarray(POOLED),
    {"text": (0, LENGTH)},
)  # fmt: skip


def _batch(labels=LABELS, marks=MARKS):
    inputs = {"text": {"offsets": jnp.asarray(OFFSETS)}, "marks": {"marks": jnp.asarray(marks)}}
    targets = {} if labels is None else {"label": jnp.asarray(labels)}
    return Batch(inputs, {}, targets, jnp.asarray(MASK), jnp.arange(ROWS))


def _build(**options):
    facts = {"num_labels": 3, "label_names": NAMES}
    return tasks.registry.build("relation_extraction", facts=facts, hidden=6, **options)


def _logits(params, pool):
    p = reference.double(params)
    rows = []
    for row in range(3):
        seen = np.float64(POOLED[row]) @ p["all"]["kernel"] + p["all"]["bias"]
        for name, tokens in zip(("head", "tail"), TOKENS[row], strict=True):
            chosen = tokens[:1] if pool == "first" else tokens
            if chosen:
                mean = np.float64(VALUES[row, chosen]).mean(axis=0)
                seen = seen + mean @ p[name]["kernel"]
        rows.append(reference.gelu(seen) @ p["pair_kernel"] + p["pair_bias"])
    return np.stack(rows)


def _loss(params, pool, labels):
    logits = _logits(params, pool)
    if labels.ndim == 2:
        truth = labels[:3]
        return np.mean(np.log1p(np.exp(np.where(truth, -logits, logits))))
    return -np.log(reference.softmax(logits))[np.arange(3), labels[:3]].mean()


@pytest.mark.parametrize(("pool", "labels"), [("mean", LABELS), ("first", SETS)])
def test_loss_and_gradient_are_those_of_float64(pool, labels):
    task = _build(pool=pool, multi_label=labels.ndim == 2)
    variables = reference.random_variables(task, FUSED, _batch(labels), train=False)

    @jax.jit
    def run(params):
        output = task.apply({"params": params}, FUSED, _batch(labels), train=False)
        return output.loss, output

    (loss, output), grads = jax.value_and_grad(run, has_aux=True)(variables["params"])
    assert float(loss) == pytest.approx(_loss(variables["params"], pool, labels), rel=1e-5)
    assert float(output.weight) == 3
    flat, tree = jax.tree.flatten(reference.double(variables["params"]))
    for i, (leaf, ours) in enumerate(zip(flat, jax.tree.leaves(grads), strict=True)):

        def moved(values, i=i):
            params = jax.tree.unflatten(tree, [*flat[:i], values, *flat[i + 1 :]])
            return _loss(params, pool, labels)

        np.testing.assert_allclose(ours, reference.gradient(moved, leaf), atol=2e-6)
    logits = _logits(variables["params"], pool)
    kept = {name: np.asarray(value)[MASK] for name, value in output.predictions.items()}
    shares = 1 / (1 + np.exp(-logits)) if labels.ndim == 2 else reference.softmax(logits)
    np.testing.assert_allclose(kept["probabilities"], shares, atol=1e-6)
    summed = task.compute(jax.device_get(output.metrics))
    whole = task.evaluate(kept, {"label": labels[MASK]})
    assert {name: whole[name] for name in summed} == pytest.approx(summed, abs=1e-6, nan_ok=True)


def test_a_batch_without_labels_gives_predictions_and_texts():
    task = _build()
    variables = reference.random_variables(task, FUSED, _batch(), train=False)
    output = jax.jit(lambda: task.apply(variables, FUSED, _batch(None), train=False))()
    assert float(output.loss) == float(output.weight) == 0.0
    assert output.metrics == {}
    decoded = task.decode(
        jax.device_get(output.predictions), {"text": ["abcd ef", "abcd ef", None, "abcd ef"]}
    )
    assert (decoded[0]["head"], decoded[0]["tail"]) == ("abcd", "ef")
    assert decoded[1]["head"] == "c"
    assert all(decoded[row].keys() == {"label", "probability", "probabilities"} for row in (2, 3))
    several = _build(multi_label=True, threshold=0.2)
    shares = np.array([[0.1, 0.2, 0.9]], np.float32)
    one = several.decode({"probabilities": shares, "marks": MARKS[:1]})[0]
    assert one["labels"] == ["of", "in"]


@pytest.mark.parametrize(
    ("options", "batch", "what"),
    [
        ({"null": "non"}, _batch(), "null = 'non'.*did you mean 'none'"),
        ({"null": "none", "multi_label": True}, _batch(), "with multi_label"),
        ({"hidden": 0}, _batch(), "hidden = 0"),
        ({}, _batch(marks=MARKS[:, :1]), "marks no two parts"),
        ({"marks": "other"}, _batch(), "'other' marks no two parts"),
    ],
)
def test_what_does_not_fit_is_refused(options, batch, what):
    facts = {"num_labels": 3, "label_names": NAMES}
    with pytest.raises(ConfigError, match=what):
        tasks.registry.build("relation_extraction", facts=facts, **options).init(
            jax.random.key(0), FUSED, batch, train=False
        )


def _table(count=24):
    columns = {"words": [], "weight": [], "ends": [], "kind": []}
    for row in range(count):
        text = ("Ada lives in Rome", "Ada is not Bob", "Bob paints Ada")[row % 3]
        end = text.rindex(" ") + 1
        columns["words"].append(text)
        columns["ends"].append({"head": [0, 3], "tail": [end, len(text)]})
        columns["kind"].append(("in", "none", "of")[row % 3])
        columns["weight"].append(float(row % 3))
    columns["words"][5] = columns["ends"][5] = None
    columns["weight"][6] = None
    return columns


@pytest.mark.slow
def test_from_a_table_to_a_report(text_run):
    frame = _table()
    target = Spec("category", column="kind")
    task = Spec("relation_extraction", null="none", hidden=8)
    marks = Spec("marks", column="ends", text="words")
    run = text_run(frame, ("label", target), task, "micro_f1", marks=marks)
    found = run.predict(frame)
    said = [one["label"] for one in found]
    wanted = f1_score(frame["kind"], said, labels=["in", "of"], average="micro", zero_division=0)
    assert run.evaluate(frame)["micro_f1"] == pytest.approx(wanted)
    assert (found[0]["head"], found[0]["tail"]) == ("Ada", "Rome")
    assert "head" not in found[5]
    alone = run.predict_one(text=frame["words"][3], marks=frame["ends"][3], weight=0.0)
    assert alone["probabilities"] == pytest.approx(found[3]["probabilities"], abs=1e-6)
    assert alone["tail"] == "Rome"
