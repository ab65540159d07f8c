"""Events in a text, with a picture that tells what words do not."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Fused

RNG = np.random.default_rng(0)
ROWS, LENGTH, WIDTH = 3, 6, 4
FACTS = {"type_names": ("go", "meet"), "role_names": ("by", "to")}
OFFSETS = np.array([[(0, 0), (0, 2), (3, 4), (5, 7), (8, 9), (0, 0)]] * ROWS, np.int32)
TEXT = np.arange(LENGTH)[None].repeat(ROWS, 0) < 5
RECORDS = np.full((ROWS, 6, 5), -1, np.int32)
# Two events, whose argument at 5 is of both; one without arguments; a row of padding.
RECORDS[0, :5] = [
    (0, 2, -1, -1, 1), (3, 4, -1, -1, 0), (5, 7, 0, 2, 0), (5, 7, 3, 4, 1), (8, 9, 3, 4, 0),
]  # fmt: skip
RECORDS[1, 0] = 8, 9, -1, -1, 0
RECORDS[2, :2] = [(0, 2, -1, -1, 1), (3, 4, 0, 2, 1)]
MASK = np.array([True, True, False])
VALUES = RNG.standard_normal((ROWS, LENGTH, WIDTH)).astype(np.float32)
POOLED = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)
FUSED = Fused(*map(jnp.asarray, (VALUES, TEXT, POOLED)), {"text": (0, LENGTH)})
# Tags of the tokens 1 to 4: triggers O, B-go, I-go, B-meet, I-meet; arguments O, B, I.
TAGS = {"trigger": [[3, 1, 0, 0], [0, 0, 0, 1]], "part": [[0, 0, 1, 1], [0, 0, 0, 0]]}
# Of the first row: token of the trigger, of the argument, and the role (0 is none).
PAIRS = [(1, 3, 1), (1, 4, 0), (2, 3, 2), (2, 4, 1)]


def _batch(records=RECORDS):
    inputs = {"text": {"offsets": jnp.asarray(OFFSETS)}}
    targets = {} if records is None else {"events": jnp.asarray(records)}
    return Batch(inputs, {}, targets, jnp.asarray(MASK), jnp.arange(ROWS))


def _build(**options):
    return tasks.registry.build(
        "event_extraction", facts=FACTS, **{"hidden": 5, "most": 4, **options}
    )


def _loss(params, weight):
    p = reference.double(params)
    seen = np.float64(VALUES) + np.float64(POOLED)[:, None]
    total = 0.0
    for name, rows in TAGS.items():
        logits = seen[:2, 1:5] @ p[name]["kernel"] + p[name]["bias"]
        log_p = np.log(reference.softmax(logits))
        total -= np.take_along_axis(log_p, np.array(rows)[..., None], axis=-1).sum()
    every = np.float64(POOLED[0]) @ p["all"]["kernel"] + p["all"]["bias"]
    for trigger, argument, role in PAIRS:
        ends = seen[0, trigger] @ p["event"]["kernel"] + seen[0, argument] @ p["argument"]["kernel"]
        logits = reference.gelu(ends + every) @ p["pair_kernel"] + p["pair_bias"]
        total -= weight * np.log(reference.softmax(logits))[role]
    return total / 8


def test_loss_and_gradient_are_those_of_float64():
    task = _build(role_weight=0.7)
    variables = reference.random_variables(task, FUSED, _batch(), train=False)

    @jax.jit
    def run(params):
        output = task.apply({"params": params}, FUSED, _batch(), train=False)
        return output.loss, output

    (loss, output), grads = jax.value_and_grad(run, has_aux=True)(variables["params"])
    assert float(loss) == pytest.approx(_loss(variables["params"], 0.7), rel=1e-5)
    assert float(output.weight) == 8
    flat, tree = jax.tree.flatten(reference.double(variables["params"]))
    for i, (leaf, ours) in enumerate(zip(flat, jax.tree.leaves(grads), strict=True)):

        def moved(values, i=i):
            params = jax.tree.unflatten(tree, [*flat[:i], values, *flat[i + 1 :]])
            return _loss(params, 0.7)

        np.testing.assert_allclose(ours, reference.gradient(moved, leaf), atol=2e-6)


@pytest.mark.parametrize("crf", [False, True])
def test_what_is_found_is_read_back(crf):
    """Outputs that say the truth are decoded to it, and are right in every metric."""
    task = _build(crf=crf)
    outputs = {"mask": jnp.asarray(TEXT)}
    for name, rows in TAGS.items():
        count = 5 if name == "trigger" else 3
        logits = np.zeros((ROWS, LENGTH, count), np.float32)
        logits[:2, 1:5] = 9 * np.eye(count)[np.array(rows)]
        logits[2, :, 0] = 9
        outputs[f"{name}_logits"] = jnp.asarray(logits)
        if crf:
            shapes = {"transitions": (count, count), "start": (count,), "stop": (count,)}
            outputs |= {f"{name}_{part}": jnp.zeros(shape) for part, shape in shapes.items()}
    # The hidden layer holds which trigger (1 or 2) and argument (4 or 8) a pair is of.
    hidden = np.zeros((ROWS, LENGTH, 1), np.float32)
    events, arguments = hidden.copy(), hidden.copy()
    events[0, [1, 2], 0], arguments[0, [3, 4], 0] = [1, 2], [4, 8]
    outputs |= {"event": jnp.asarray(events), "argument": jnp.asarray(arguments)}
    outputs |= {"all": jnp.zeros((ROWS, 1)), "kernel": jnp.zeros((1, 3)), "bias": jnp.zeros(3)}
    roles = {5: 1, 9: 0, 6: 2, 10: 1}

    def logits_of(outputs, first, second):
        both = (first[:, :, None] + second[:, None])[..., 0]
        found = sum(
            (jnp.abs(both - k) < 0.1)[..., None] * jax.nn.one_hot(v, 3) for k, v in roles.items()
        )
        return 9.0 * found + 5.0 * (jnp.abs(both) < 0.1)[..., None] * jax.nn.one_hot(0, 3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmjax.tasks.event_extraction.pair_logits", logits_of)
        output = jax.device_get(jax.jit(lambda: task.output(outputs, _batch()))())
    found = task.compute(output.metrics)
    scores = ("trigger_f1", "trigger_identification_f1", "argument_f1", "argument_f1/by")
    assert all(found[name] == 1.0 for name in scores)
    kept = {name: np.asarray(value)[MASK] for name, value in output.predictions.items()}
    assert task.evaluate(kept, {"events": RECORDS[MASK]}) == pytest.approx(found)
    first, second = task.decode(kept, {"text": ["aa b cc d", "aa b cc d"]})
    said = [
        (one["text"], one["label"], sorted((a["text"], a["label"]) for a in one["arguments"]))
        for one in first["events"]
    ]
    assert said == [("aa", "meet", [("cc", "by")]), ("b", "go", [("cc", "to"), ("d", "by")])]
    assert [(one["start"], one["end"], one["label"]) for one in second["events"]] == [(8, 9, "go")]
    assert json.loads(json.dumps(first)) == first


def test_without_its_target_a_batch_gives_predictions_only():
    task = _build()
    variables = reference.random_variables(task, FUSED, _batch(), train=False)
    output = jax.jit(lambda: task.apply(variables, FUSED, _batch(None), train=False))()
    assert float(output.loss) == float(output.weight) == 0.0
    assert output.metrics == {}
    assert output.predictions["arguments"].shape == (ROWS, 4, 6)


@pytest.mark.parametrize(
    ("task", "what"),
    [
        (lambda: tasks.build("event_extraction"), "has no types of events"),
        (lambda: _build(hidden=0), "hidden = 0"),
        (lambda: _build(text="words"), "reads the tokens of 'words'"),
    ],
)
def test_what_does_not_fit_is_refused(task, what):
    with pytest.raises(ConfigError, match=what):
        task().init(jax.random.key(0), FUSED, _batch(), train=False)


def _table(count=24):
    columns = {"words": [], "weight": [], "happened": []}
    for row in range(count):
        who, verb, whom = ("Ada", "Bob")[row % 2], ("met", "left")[row % 3 == 0], "Eve"
        start = len(who) + 1
        end = start + len(verb)
        columns["words"].append(f"{who} {verb} {whom}")
        arguments = [
            {"start": 0, "end": len(who), "role": "by"},
            {"start": end + 1, "end": end + 4, "role": "with"},
        ]
        event = {"start": start, "end": end, "type": ("meet", "go")[verb == "left"]}
        columns["happened"].append([{**event, "arguments": arguments}] if row % 4 else [])
        columns["weight"].append(float(row % 4 > 0))
    columns["words"][5], columns["happened"][5] = None, []
    columns["weight"][6] = None
    return columns


@pytest.mark.slow
def test_from_a_table_to_a_report(text_run):
    frame = _table()
    target = Spec("events", column="happened", text="words", most=8)
    task = Spec("event_extraction", subwords="first", hidden=8, most=4)
    run = text_run(frame, ("events", target), task, "trigger_f1")
    found = run.predict(frame)
    metrics = run.evaluate(frame)
    said = {
        (i, e["start"], e["end"], e["label"]) for i, one in enumerate(found) for e in one["events"]
    }
    true = {
        (i, e["start"], e["end"], e["type"]) for i, one in enumerate(frame["happened"]) for e in one
    }
    assert metrics["trigger_f1"] == pytest.approx(2 * len(said & true) / (len(said) + len(true)))
    assert found[5]["events"] == []
    for one in found:
        for event in one["events"]:
            assert frame["words"][one["row"]][event["start"] : event["end"]] == event["text"]
    alone = run.predict_one(text=frame["words"][3], weight=1.0)
    assert [e["text"] for e in alone["events"]] == [e["text"] for e in found[3]["events"]]
