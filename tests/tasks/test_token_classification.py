"""Named parts of a text, by tags, with a picture that tells what words do not."""

from __future__ import annotations

import itertools
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
from mmjax.metrics.entities import entities
from mmjax.tasks import tagging

RNG = np.random.default_rng(0)
ROWS, LENGTH, WIDTH = 4, 6, 5
NAMES = ("x", "y")
# [CLS] ab c-d ef, of tokens "ab", "c", "-d", "ef"; the second row has one word, the fourth is none.
OFFSETS = np.zeros((ROWS, LENGTH, 2), np.int32)
OFFSETS[:, 1:5] = [(0, 2), (3, 4), (4, 6), (7, 9)]
OFFSETS[1, 2:] = 0
TEXT = np.zeros((ROWS, LENGTH), bool)
TEXT[:, :5] = OFFSETS[:, :5, 1] > 0
TEXT[:, 0] = True
SPANS = np.full((ROWS, 3, 3), -1, np.int32)
SPANS[0, :2] = [(0, 2, 1), (3, 9, 0)]
SPANS[2, 0] = 4, 6, 0
SPANS[3, 0] = 0, 2, 0
MASK = np.array([True, True, True, False])
VALUES = RNG.standard_normal((ROWS, 2 + LENGTH, WIDTH)).astype(np.float32)
POOLED = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)


def _fused(text=TEXT):
    mask = np.concatenate([np.ones((ROWS, 2), bool), text], axis=1)
    spans = {"image": (0, 2), "text": (2, 2 + LENGTH)}
    return Fused(*map(jnp.asarray, (VALUES, mask, POOLED)), spans)


def _batch(*, labelled=True, mask=MASK, offsets=OFFSETS):
    inputs = {"text": {} if offsets is None else {"offsets": jnp.asarray(offsets)}}
    targets = {"spans": jnp.asarray(SPANS)} if labelled else {}
    return Batch(inputs, {}, targets, jnp.asarray(mask), jnp.arange(ROWS))


def _build(**options):
    return tasks.registry.build(
        "token_classification", facts={"span_names": NAMES}, most=4, **options
    )


def _words(row, subwords):
    """Token, start and end of each word."""
    if row == 1:
        return [(1, 0, 2)]
    if subwords == "first":
        return [(1, 0, 2), (2, 3, 6), (4, 7, 9)]
    return [(1, 0, 2), (2, 3, 4), (3, 4, 6), (4, 7, 9)]


def _truth(row, subwords, names):
    """The tags of a row's words, by hand."""
    said = {
        (0, "all"): "B-y B-x I-x I-x",
        (0, "first"): "B-y B-x I-x",
        (1, "all"): "O",
        (1, "first"): "O",
        (2, "all"): "O O B-x O",
        (2, "first"): "O B-x O",
    }[row, subwords].split()
    return [names.index(tag) for tag in said]


def _logits(variables, row, token):
    head = reference.double(variables["params"]["head"])
    seen = np.float64(VALUES[row, 2 + token]) + np.float64(POOLED[row])
    return seen @ head["kernel"] + head["bias"]


def _loss(variables, subwords, crf):
    """In float64: the sum over words, over the sum of words."""
    names = tagging.tag_names("BIO", NAMES)
    follows, begins, _ = tagging.allowed("BIO", 2)
    total, count = 0.0, 0
    for row in range(3):
        logits = np.stack([_logits(variables, row, t) for t, _, _ in _words(row, subwords)])
        tags = _truth(row, subwords, names)
        count += len(tags)
        if not crf:
            total -= np.log(reference.softmax(logits))[np.arange(len(tags)), tags].sum()
            continue
        chain = reference.double(variables["params"])
        scores = {}
        for one in itertools.product(range(len(names)), repeat=len(tags)):
            pairs = list(itertools.pairwise(one))
            if begins[one[0]] and all(follows[pair] for pair in pairs):
                score = chain["tags_start"][one[0]] + chain["tags_stop"][one[-1]]
                score += sum(chain["tags_transitions"][pair] for pair in pairs)
                scores[one] = score + logits[np.arange(len(one)), one].sum()
        total += np.log(np.exp(list(scores.values())).sum()) - scores[tuple(tags)]
    return total / count


@pytest.mark.parametrize(("subwords", "crf"), [("all", False), ("first", False), ("first", True)])
def test_loss_and_gradient_are_those_of_float64(subwords, crf):
    task = _build(subwords=subwords, crf=crf)
    variables = reference.random_variables(task, _fused(), _batch(), train=False)

    @jax.jit
    def run(params):
        output = task.apply({"params": params}, _fused(), _batch(), train=False)
        return output.loss, output

    (loss, output), grads = jax.value_and_grad(run, has_aux=True)(variables["params"])
    assert float(loss) == pytest.approx(_loss(variables, subwords, crf), rel=1e-5)
    assert float(output.weight) == (9 if subwords == "all" else 7)
    flat, tree = jax.tree.flatten(reference.double(variables["params"]))
    ours = [np.asarray(one) for one in jax.tree.leaves(grads)]
    for i, leaf in enumerate(flat):
        for index in [tuple(RNG.integers(0, n) for n in leaf.shape) for _ in range(3)]:
            sides = []
            for by in (1e-5, -1e-5):
                moved = [np.array(one) for one in flat]
                moved[i][index] += by
                sides.append(_loss({"params": jax.tree.unflatten(tree, moved)}, subwords, crf))
            wanted = (sides[0] - sides[1]) / 2e-5
            assert ours[i][index] == pytest.approx(wanted, abs=2e-5), (i, index)


def test_predictions_are_the_spans_of_the_best_tags():
    task = _build(subwords="all")
    logits = np.full((ROWS, LENGTH, 5), -5.0, np.float32)
    for token, tag in ((1, 3), (2, 1), (3, 2), (4, 4)):
        logits[:, token, tag] = 5.0
    outputs = {"logits": jnp.asarray(logits), "mask": jnp.asarray(TEXT)}
    output = jax.jit(lambda: task.output(outputs, _batch()))()
    spans = np.asarray(output.predictions["spans"])
    assert spans[0].tolist() == [[0, 2, 1], [3, 6, 0], [7, 9, 1], [-1] * 3]
    assert spans[1].tolist() == [[0, 2, 1]] + [[-1] * 3] * 3
    found = task.compute(output.metrics)
    # "y" is right once, in the first row; "x" is found in three places where it is not.
    assert (found["precision/y"], found["recall/y"]) == (1 / 5, 1.0)
    assert (found["f1/x"], found["support/x"]) == (0.0, 2.0)
    assert found["accuracy"] == pytest.approx(3 / 9)
    kept = {name: np.asarray(value)[MASK] for name, value in output.predictions.items()}
    whole = task.evaluate(kept, {"spans": SPANS[MASK]})
    assert {name: found[name] for name in whole} == pytest.approx(whole)
    decoded = task.decode(kept, {"text": ["ab c-d ef", "ab", None]})
    first = decoded[0]["spans"]
    assert [(one["text"], one["label"]) for one in first] == [
        ("ab", "y"),
        ("c-d", "x"),
        ("ef", "y"),
    ]
    assert first[0]["score"] == pytest.approx(1 / (1 + 4 * np.exp(-10)), rel=1e-5)
    assert decoded[1]["spans"][0].keys() == {"start", "end", "label", "text", "score"}
    assert decoded[2]["spans"][0].keys() == {"start", "end", "label", "score"}
    strict = _build(strict=True)
    outcome = jax.jit(lambda: strict.output(outputs, _batch()))()
    assert np.asarray(outcome.predictions["spans"])[0, 2].tolist() == [-1] * 3


def test_a_hidden_text_and_padding_rows_count_nowhere():
    task = _build(crf=True)
    variables = reference.random_variables(task, _fused(), _batch(), train=False)
    run = jax.jit(lambda fused, batch: task.apply(variables, fused, batch, train=False))
    ours = run(_fused(), _batch())
    less = run(_fused(TEXT & (np.arange(ROWS) != 1)[:, None]), _batch())
    assert float(less.weight) == float(ours.weight) - 1
    nothing = run(_fused(np.zeros_like(TEXT)), _batch())
    assert float(nothing.loss) == float(nothing.weight) == 0.0
    assert (np.asarray(nothing.predictions["spans"]) == -1).all()
    found = task.compute(jax.device_get(nothing.metrics))
    assert np.isnan(found["accuracy"])
    assert found["recall/x"] == 0.0
    plain = run(_fused(), _batch(labelled=False))
    assert plain.metrics == {}
    np.testing.assert_array_equal(plain.predictions["spans"], ours.predictions["spans"])


def test_words_of_one_name_each():
    """Parts of speech: what no span names counts nowhere, and is predicted all the same."""
    task = _build(scheme="words", subwords="first")
    variables = reference.random_variables(task, _fused(), _batch(), train=False)
    output = jax.jit(lambda: task.apply(variables, _fused(), _batch(), train=False))()
    assert float(output.weight) == 4
    spans = np.asarray(output.predictions["spans"])
    assert spans[0, :, :2].tolist() == [[0, 2], [3, 6], [7, 9], [-1, -1]]


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda: _build(text="words").init(jax.random.key(0), _fused(), _batch(), train=False),
         "reads the tokens of 'words'.*did you mean|valid: image, text"),
        (lambda: _build().init(jax.random.key(0), _fused(), _batch(offsets=None), train=False),
         "does not tell which characters.*offsets=True"),
        (lambda: _build().init(
            jax.random.key(0), _fused(), _batch(offsets=OFFSETS[:, :3]), train=False
        ), "makes 6 tokens of 3"),
        (lambda: tasks.build("token_classification").init(
            jax.random.key(0), _fused(), _batch(), train=False
        ), "has no names of spans"),
        (lambda: _build(hidden=3).clone(most=0).init(
            jax.random.key(0), _fused(), _batch(), train=False
        ), "most = 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(run, what):
    with pytest.raises(ConfigError, match=what):
        run()


def _table(count=24):
    """Names after "in" are places, unless the picture's number says that they are people's."""
    rng = np.random.default_rng(0)
    columns = {"words": [], "weight": [], "parts": []}
    for row in range(count):
        name = " ".join(rng.choice(["Rome", "Paris", "York"], 1 + row % 2))
        start = len("we are in ")
        kind = ("place", "person")[row % 2]
        columns["words"].append(f"we are in {name} today")
        columns["parts"].append([{"start": start, "end": start + len(name), "label": kind}])
        columns["weight"].append(float(row % 2))
    columns["words"][5], columns["parts"][5] = None, []
    columns["weight"][6] = None
    return columns


def test_from_a_table_to_a_report(text_run):
    frame = _table()
    target = Spec("spans", column="parts", text="words")
    task = Spec("token_classification", crf=True, subwords="first")
    run = text_run(frame, ("spans", target), task, "micro_f1")
    found = run.predict(frame)
    metrics = run.evaluate(frame)
    assert found[5]["spans"] == []
    tags = {"true": [], "said": []}
    for row, cell in enumerate(frame["words"]):
        for name, spans in (("true", frame["parts"][row]), ("said", found[row]["spans"])):
            words = (cell or "").split()
            said = ["O"] * len(words)
            for one in spans:
                first = (cell or "")[: one["start"]].count(" ")
                last = (cell or "")[: one["end"]].count(" ")
                said[first : last + 1] = [
                    f"{'I' if i else 'B'}-{one['label']}" for i in range(last + 1 - first)
                ]
                assert " ".join(words[first : last + 1]) == cell[one["start"] : one["end"]]
            tags[name].append(said)
    wanted = entities(tags["true"], tags["said"], names=("person", "place"))
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    for one in found:
        assert all(
            frame["words"][one["row"]][s["start"] : s["end"]] == s["text"] for s in one["spans"]
        )
    alone = run.predict_one(text=frame["words"][3], table=None, weight=1.0)
    assert json.loads(json.dumps(alone)).keys() == {"spans"}
    assert [s["text"] for s in alone["spans"]] == [s["text"] for s in found[3]["spans"]]
