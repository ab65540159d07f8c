"""Labels of steps in time, of frames with a stream of readings beside them."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import tiny_run

import mmjax
from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Fused
from mmjax.data.config import DataConfig
from mmjax.metrics import segments
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

RNG = np.random.default_rng(0)
ROWS, STEPS, WIDTH = 3, 4, 5
NAMES = ("run", "sit")
VIDEO = np.ones((ROWS, 1 + 2 * STEPS), bool)
VIDEO[1, 5:] = False
VIDEO[0, 2] = False
SECONDS = np.array([[0, 4], [0, 2], [0, 4]], np.float32)
# The middles of the steps of 1 second are 0.5, 1.5, 2.5 and 3.5, of those of half a second half.
SEGMENTS = np.full((ROWS, 2, 3), -1, np.float32)
SEGMENTS[0] = [(0.2, 1.4, 1), (1.4, 3.5, 0)]
SEGMENTS[1, 0] = 0.3, 2.0, 1
SEGMENTS[2, 0] = 0, 4, 0
ROW_MASK = np.array([True, True, False])
LABELS = np.array([[2, 1, 1, 0], [0, 2, 2, 2]])
"""By hand: 0 is nothing; the last two of the second row are not there."""
VALUES = RNG.standard_normal((ROWS, 2 + VIDEO.shape[1], WIDTH)).astype(np.float32)
POOLED = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)


def _fused():
    mask = np.concatenate([np.ones((ROWS, 2), bool), VIDEO], axis=1)
    spans = {"table": (0, 2), "video": (2, 2 + VIDEO.shape[1])}
    return Fused(*map(jnp.asarray, (VALUES, mask, POOLED)), spans)


def _batch(*, seconds=SECONDS, labelled=True):
    inputs = {"video": {} if seconds is None else {"seconds": jnp.asarray(seconds)}}
    targets = {"segments": jnp.asarray(SEGMENTS)} if labelled else {}
    return Batch(inputs, {}, targets, jnp.asarray(ROW_MASK), jnp.arange(ROWS))


def _build(**options):
    given = {"tokens_per_step": 2, **options}
    return tasks.registry.build("time_tagging", facts={"segment_names": NAMES}, **given)


def _logits(variables):
    """Of each step the mean of its two tokens that are there, after the class token."""
    head = reference.double(variables["params"]["head"])
    seen = np.float64(VALUES[:, 3:]) + np.float64(POOLED)[:, None]
    pairs = seen.reshape(ROWS, STEPS, 2, WIDTH)
    there = VIDEO[:, 1:].reshape(ROWS, STEPS, 2, 1)
    means = (pairs * there).sum(axis=2) / np.maximum(there.sum(axis=2), 1)
    return means @ head["kernel"] + head["bias"]


def _loss(variables, labels, smoothing):
    logits = _logits(variables)
    counted = {0: 4, 1: 2}
    total = 0.0
    for row, steps in counted.items():
        one = logits[row, :steps]
        truth = LABELS[row, :steps]
        if labels == "one":
            logs = np.log(reference.softmax(one))
            total -= logs[np.arange(steps), truth].sum()
        else:
            yes = truth[:, None] == np.arange(1, 3)
            logs = -np.log1p(np.exp(-one))
            total -= np.where(yes, logs, -np.log1p(np.exp(one))).mean(axis=1).sum()
        total += smoothing * np.square(np.clip(np.diff(logs, axis=0), -4, 4)).mean(axis=1).sum()
    return total / sum(counted.values())


@pytest.mark.parametrize(("labels", "smoothing"), [("one", 0.15), ("several", 0.0)])
def test_loss_and_gradient_are_those_of_float64(labels, smoothing):
    task = _build(labels=labels, smoothing=smoothing)
    variables = reference.random_variables(task, _fused(), _batch(), train=False)

    @jax.jit
    def run(params):
        output = task.apply({"params": params}, _fused(), _batch(), train=False)
        return output.loss, output

    (loss, output), gradient = jax.value_and_grad(run, has_aux=True)(variables["params"])
    np.testing.assert_allclose(loss, _loss(variables, labels, smoothing), rtol=1e-5)
    assert float(output.weight) == 6
    if not smoothing:
        # The past is held still in the smoothing term, so differences tell of the rest alone.
        step = 1e-6
        for index in np.ndindex(WIDTH, 2):
            sides = []
            for sign in (1, -1):
                moved = jax.tree.map(np.float64, variables)
                moved["params"]["head"]["kernel"][index] += sign * step
                sides.append(_loss(moved, labels, smoothing))
            found = gradient["head"]["kernel"][index]
            np.testing.assert_allclose(found, (sides[0] - sides[1]) / (2 * step), atol=1e-5)
    seconds = np.asarray(output.predictions["seconds"])
    np.testing.assert_allclose(seconds[1], 0.5 * np.stack([np.arange(4), np.arange(1, 5)], 1))
    shares = task.compute_own(jax.device_get(output.metrics))
    logits = _logits(variables)[:2]
    counted = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    right = logits.argmax(axis=-1) == LABELS
    if labels == "several":
        right = ((logits >= 0) == (LABELS[..., None] == np.arange(1, 3))).all(axis=-1)
    assert shares["accuracy"] == pytest.approx(right[counted].mean())


def test_segments_are_runs_of_a_label_that_last():
    chances = np.zeros((2, 5, 3), np.float32)
    for row, labels in enumerate([[1, 1, 0, 2, 0], [2, 0, 0, 2, 2]]):
        chances[row, np.arange(5), labels] = [0.9, 0.7, 0.5, 0.8, 0.6]
    seconds = (
        np.stack([np.arange(5), np.arange(1, 6)], axis=-1)[None] * np.array([0.5, 2])[:, None, None]
    )
    mask = np.ones((2, 5), bool)
    mask[1, 4] = False
    predictions = {"probabilities": chances, "seconds": seconds, "mask": mask}
    found = _build(shortest=0.6).decode(predictions)
    assert found == [
        {"segments": [{"start": 0.0, "end": 1.0, "label": "run", "score": pytest.approx(0.8)}]},
        {
            "segments": [
                {"start": 0.0, "end": 2.0, "label": "sit", "score": pytest.approx(0.9)},
                {"start": 6.0, "end": 8.0, "label": "sit", "score": pytest.approx(0.8)},
            ]
        },
    ]
    several = _build(labels="several").decode({**predictions, "probabilities": chances[..., 1:]})
    assert [s["label"] for s in several[0]["segments"]] == ["run", "sit"]
    truth = np.full((2, 2, 3), -1, np.float32)
    truth[0, 0], truth[1, 0] = (0, 1, 0), (0, 2, 1)
    metrics = _build().evaluate(predictions, {"segments": truth})
    wanted = segments(
        [[1, 1, 0, 0, 0], [2, 0, 0, 0]], [[1, 1, 0, 2, 0], [2, 0, 0, 2]], background=0
    )
    wanted.pop("accuracy")
    assert {k: metrics[k] for k in wanted} == pytest.approx(wanted)
    assert metrics["event_f1"] == pytest.approx(2 * 2 / (2 + 4))
    assert metrics["ap/run"] == 1.0
    assert metrics["map"] == pytest.approx((1 + metrics["ap/sit"]) / 2)


@pytest.mark.parametrize(
    ("options", "batch", "what"),
    [
        ({"modality": "sound"}, {}, "tokens of 'sound'"),
        ({"tokens_per_step": 20}, {}, "9 tokens are no step of 20"),
        ({"most": 2}, {}, "most"),
        ({}, {"seconds": None}, "does not tell when"),
    ],
)
def test_what_does_not_fit_is_refused(options, batch, what):
    task = _build(**options)
    with pytest.raises(ConfigError, match=what):
        reference.shapes(task, _fused(), _batch(**batch), train=False)


def test_without_labels_there_are_predictions_padded_to_one_length():
    task = _build(most=6)
    variables = reference.random_variables(task, _fused(), _batch(), train=False)
    output = task.apply(variables, _fused(), _batch(labelled=False), train=False)
    assert (float(output.loss), output.metrics) == (0.0, {})
    assert output.predictions["probabilities"].shape == (ROWS, 6, 3)
    assert not output.predictions["mask"][:, 4:].any()


@pytest.fixture
def fast(monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    with tiny_run.one_device():
        yield


def _table(count=16):
    """A picture that is white while something happens; the readings say what."""
    rng = np.random.default_rng(0)
    columns = {"clip": [], "readings": [], "when": []}
    for row in range(count):
        kind, start = row % 2, int(rng.integers(1, 5))
        clip = np.zeros((8, 8, 8, 1), np.uint8)
        clip[start : start + 3] = 255
        columns["clip"].append(clip)
        columns["readings"].append(rng.normal(3 * kind, 1.0, (6, 2)).astype(np.float32))
        span = {"start": start / 4, "end": (start + 3) / 4, "label": NAMES[kind]}
        columns["when"].append([span])
    columns["clip"][3] = None
    columns["readings"][4] = None
    return columns


@pytest.mark.slow
def test_from_a_table_to_a_report(tmp_path, fast):
    clip = {"size": 8, "frames": 8, "channels": 1, "seconds": True, "frame_rate": 4.0}
    config = Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities={
                "video": Spec("video", column="clip", **clip),
                "readings": Spec("sequence", column="readings", max_length=6, step_seconds=0.5),
            },
            targets={"segments": Spec("segments", column="when", most=2)},
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                "video": Spec(
                    "frames", image=Spec("image_cnn", channels=(8,), blocks=(0,)), width=8, depth=0
                ),
                "readings": Spec("conv1d", channels=(8,)),
            },
            fusion=Spec("concat", width=8),
        ),
        task=Spec("time_tagging", hidden=8),
        optimizer=OptimizerConfig(learning_rate=1e-2),
        train=TrainConfig(duration="3 steps", best_metric="map", log_every="1 steps"),
    )
    frame = _table()
    mmjax.train(config, tmp_path / "run", frame=frame)
    assert (tmp_path / "run" / "report.html").is_file()
    run = mmjax.load_run(tmp_path / "run")
    found, metrics = run.predict(frame), run.evaluate(frame)
    assert found[3]["segments"] == []
    true, said = [], []
    middles = (np.arange(8) + 0.5) / 4
    for row, segments_ in enumerate(frame["when"]):
        if frame["clip"][row] is not None:
            for into, some in ((true, segments_), (said, found[row]["segments"])):
                labels = np.zeros(8, int)
                for one in some:
                    labels[(one["start"] <= middles) & (middles < one["end"])] = 1 + NAMES.index(
                        one["label"]
                    )
                into.append(labels)
    wanted = segments(true, said, background=0)
    # The row without a video is right in having no segment.
    wanted["edit"] = (15 * wanted["edit"] + 1) / 16
    assert {name: metrics[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
    alone = run.predict_one(clip=frame["clip"][5], readings=frame["readings"][5])
    assert json.loads(json.dumps(alone))["segments"] == [
        {k: pytest.approx(v, abs=1e-3) for k, v in s.items()} if s else s
        for s in found[5]["segments"]
    ]
