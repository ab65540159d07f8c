"""Detection: DETR's loss and gradients, what counts, words as classes, and a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import tiny_run
from jax.sharding import NamedSharding, PartitionSpec
from scipy.optimize import linear_sum_assignment

import mmjax
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Fused
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.nn.positions import sincos_grid
from mmjax.parallel.mesh import BATCH_AXES, MeshConfig, make_mesh, traced_on
from mmjax.tasks.detection import Detection
from mmjax.tasks.object_queries import ObjectQueries, grid_of, places
from mmjax.tasks.set_matching import match
from mmjax.train.config import Config, TrainConfig

with np.load(Path(__file__).parents[1] / "golden" / "detection.npz") as file:
    GOLDEN = dict(file)
NAMES = ("cat", "dog", "bird")


def _task(**options):
    return Detection(**{"box_names": NAMES, "most_boxes": 5, "queries": 7, **options})


def _batch(truth=GOLDEN["truth"], rows=None):
    rows = np.ones(len(truth), bool) if rows is None else rows
    return Batch({}, {}, {"boxes": truth}, rows, np.arange(len(truth)))


def _outputs(rows=slice(None)):
    return {name: jnp.asarray(GOLDEN[name][:, rows]) for name in ("logits", "boxes")}


@jax.jit
def _loss(outputs, batch):
    def of(outputs):
        output = _task().output(outputs, batch)
        return output.loss, output

    (_, output), grads = jax.value_and_grad(of, has_aux=True)(outputs)
    return output, grads


def _padded():
    """The golden batch, with a crowd and a row of padding that count nowhere."""
    truth = np.concatenate([GOLDEN["truth"], GOLDEN["truth"][:1]])
    truth[3, 1] = (0.5, 0.5, 0.9, 0.9, 2, 1, 0, 0)
    outputs = jax.tree.map(lambda x: jnp.concatenate([x, x[:, :1]], axis=1), _outputs())
    return outputs, _batch(truth, np.arange(5) < 4)


def test_loss_and_gradients_are_those_of_detr():
    output, grads = _loss(*_padded())
    assert float(output.loss) == pytest.approx(float(GOLDEN["loss"]), rel=1e-5)
    assert float(output.weight) == 9
    for name in ("logits", "boxes"):
        np.testing.assert_allclose(grads[name][:, :4], GOLDEN[f"{name}_gradient"], atol=1e-5)
        assert not np.any(grads[name][:, 4])
    found = _task().compute(jax.device_get(output.metrics))
    assert found["cross_entropy_loss"] == pytest.approx(float(GOLDEN["loss_ce"]), rel=1e-5)
    assert found["l1_loss"] == pytest.approx(float(GOLDEN["loss_bbox"]), rel=1e-5)
    assert found["giou_loss"] == pytest.approx(float(GOLDEN["loss_giou"]), rel=1e-5)
    assert 0 <= found["matched_iou"] <= 1


def _double(logits, boxes, truth):
    """The loss of a row by itself, in float64."""
    here = truth[truth[:, 4] >= 0]
    labels, true = here[:, 4].astype(int), here[:, :4].astype(np.float64)
    total = 0.0
    for said, at in zip(logits.astype(np.float64), boxes.astype(np.float64), strict=True):
        chances = reference.softmax(said)
        distance = np.abs(at[:, None] - true).sum(axis=-1)
        giou = np.array([[_giou(a, b) for b in true] for a in at]).reshape(distance.shape)
        chosen, objects = linear_sum_assignment(5 * distance - 2 * giou - chances[:, labels])
        wanted = np.full(len(said), 3)
        wanted[chosen] = labels[objects]
        weights = np.where(wanted == 3, 0.1, 1.0)
        entropy = -np.log(chances[np.arange(len(said)), wanted])
        total += (weights * entropy).sum() / weights.sum()
        if len(true):
            pairs = chosen, objects
            total += (5 * distance[pairs] + 2 * (1 - giou[pairs])).mean()
    return total


def _giou(a, b):
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    across = min(ax + aw / 2, bx + bw / 2) - max(ax - aw / 2, bx - bw / 2)
    down = min(ay + ah / 2, by + bh / 2) - max(ay - ah / 2, by - bh / 2)
    inside = max(across, 0) * max(down, 0)
    union = aw * ah + bw * bh - inside
    around = (max(ax + aw / 2, bx + bw / 2) - min(ax - aw / 2, bx - bw / 2)) * (
        max(ay + ah / 2, by + bh / 2) - min(ay - ah / 2, by - bh / 2)
    )
    return inside / union - (around - union) / around


def test_means_of_rows_add_up_whatever_the_batches():
    outputs, batch = _padded()
    output = jax.jit(_task(average="rows").output)(outputs, batch)
    each = [
        _double(GOLDEN["logits"][:, i], GOLDEN["boxes"][:, i], GOLDEN["truth"][i]) for i in range(4)
    ]
    assert float(output.loss) == pytest.approx(np.mean(each), rel=1e-5)
    assert float(output.weight) == 4


def test_matching_is_the_cheapest_on_every_device():
    rng = np.random.default_rng(1)
    costs = rng.normal(size=(2, 8, 9, 6)).astype(np.float32)
    costs[1, 0] = 0.5
    costs[1, 1] = costs[1, 1].round()
    here = rng.random((2, 8, 6)) < 0.7
    here[0, 0] = False
    mesh = make_mesh(MeshConfig())
    spread = NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))
    function = jax.jit(traced_on(mesh, match), in_shardings=spread)
    found = np.asarray(function(costs, here))
    assert (found[~here] == -1).all()
    for at in np.ndindex(2, 8):
        own, objects = found[at][here[at]], np.flatnonzero(here[at])
        assert len(set(own.tolist())) == len(own)
        some = costs[at][:, objects]
        best = some[linear_sum_assignment(some)].sum()
        assert costs[at][own, objects].sum() == pytest.approx(best, abs=1e-5)
    costs[0, 1] = np.nan
    costs[0, 2, :, 0] = np.inf
    broken = np.asarray(function(costs, here))
    assert ((broken >= 0) == here).all()


def test_what_is_predicted_and_decoded():
    output, _ = _loss(*_padded())
    task = _task(threshold=0.3)
    rows = task.decode(jax.device_get(output.predictions))
    chances = reference.softmax(GOLDEN["logits"][-1].astype(np.float64))[..., :3]
    for row, found in enumerate(rows[:4]):
        sure = np.sort(chances[row].max(axis=-1))[::-1]
        assert [one["score"] for one in found["boxes"]] == pytest.approx(sure[sure >= 0.3])
    best = np.unravel_index(chances[0].argmax(), chances[0].shape)
    first = json.loads(json.dumps(rows[0]["boxes"][0]))
    assert first["label"] == NAMES[best[1]]
    cx, cy, w, h = GOLDEN["boxes"][-1, 0, best[0]]
    corners = np.clip([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 0, 1)
    assert first["box"] == pytest.approx(corners, abs=1e-6)


def test_evaluation_is_in_pixels_where_sizes_are_known():
    truth = GOLDEN["truth"].copy()
    truth[..., 7] = 100 * 50
    truth[..., 6] = truth[..., 2] * truth[..., 3] * 5000
    corners = np.concatenate(
        [truth[..., :2] - truth[..., 2:4] / 2, truth[..., :2] + truth[..., 2:4] / 2], axis=-1
    )
    said = {
        "boxes": corners,
        "scores": np.where(truth[..., 4] >= 0, 0.9, 0.0),
        "labels": np.maximum(truth[..., 4], 0).astype(int),
    }
    found = _task().evaluate(said, {"boxes": truth})
    assert found["ap"] == found["ap_small"] == pytest.approx(1.0)
    assert {"ap/cat", "ap/dog", "ap/bird", "ar@100"} <= found.keys()
    truth[..., 7] = 0
    unknown = _task().evaluate(said, {"boxes": truth})
    assert unknown["ap"] == pytest.approx(1.0)
    assert np.isnan(unknown["ap_small"])


def _fused(width=8):
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(size=(2, 8, width)), jnp.float32)
    mask = np.ones((2, 8), bool)
    mask[1, 5:] = False
    return Fused(values, jnp.asarray(mask), values[:, 0], {"image": (0, 5), "text": (5, 8)})


SMALL = {"heads": 2, "mlp_dim": 8, "depth": 2, "joint": 8, "queries": 5}


def _variables(task, fused):
    return reference.random_like(
        jax.eval_shape(
            lambda: task.init(jax.random.key(0), fused, train=False, method="head_outputs")
        )
    )


def test_names_that_were_never_trained_have_logits_by_their_words():
    task = _task(classes="names", **SMALL)
    fused = _fused()
    whole = _variables(task, fused)
    other = dataclasses.replace(task, box_names=("dog", "red bird", "Dog"))

    def apply(task):
        made = lambda: task.apply(whole, fused, train=False, method="head_outputs")  # noqa: E731
        return jax.jit(made)()

    before, after = apply(task)["logits"], apply(other)["logits"]
    assert before.shape == after.shape == (1, 2, 5, 4)
    np.testing.assert_allclose(after[..., [0, 2, 3]], before[..., [1, 1, 3]], atol=1e-6)
    assert not np.allclose(after[..., 1], before[..., 2])


def test_a_rows_text_says_what_to_look_for():
    task = _task(classes="text", **{**SMALL, "box_names": ("it",)})
    fused = _fused()
    whole = _variables(task, fused)

    def logits(values):
        changed = dataclasses.replace(fused, values=values)
        return task.apply(whole, changed, train=True, method="head_outputs")["logits"]

    assert jax.eval_shape(logits, fused.values).shape == (2, 2, 5, 2)
    slope = jax.jit(jax.grad(lambda v: logits(v)[..., 0].sum()))(fused.values)
    assert np.any(slope[0, 5:])
    assert not np.any(slope[1, 5:])
    with pytest.raises(ConfigError, match="3 names"):
        _task(classes="text", **SMALL).init(
            jax.random.key(0), fused, train=False, method="head_outputs"
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": 3}, "queries"),
        ({"image": "picture"}, "tokens of 'picture'"),
        ({"grid": (2, 3)}, "grid"),
        ({"box_names": ()}, "0 names"),
        ({"eos": 0.0}, "eos"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    task = _task(**{**SMALL, **options})
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(
            lambda: task.init(jax.random.key(0), _fused(), train=False, method="head_outputs")
        )


def test_places_and_anchors():
    assert grid_of(65, (), "") == (8, 8)
    assert grid_of(6, (2, 3), "") == (2, 3)
    middles = jnp.asarray([[(c + 0.5) / 3, (r + 0.5) / 2] for r in range(2) for c in range(3)])
    np.testing.assert_allclose(places(middles, (2, 3), 8), sincos_grid((2, 3), 8)[0], atol=1e-5)
    tokens, mask = jnp.zeros((1, 5, 8)), jnp.ones((1, 5), bool)
    expected = {
        "grid": [[1 / 6, 0.25], [3 / 6, 0.25], [5 / 6, 0.25]],
        "tokens": [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]],
    }
    for anchors, middle in expected.items():
        module = ObjectQueries(queries=6, depth=1, heads=2, mlp_dim=8, anchors=anchors)
        run = jax.jit(
            lambda tokens, module=module: module.init_with_output(
                jax.random.key(0), tokens, mask, (2, 2), train=False
            )
        )
        boxes = np.asarray(run(tokens)[0].boxes[0, 0])
        assert len(boxes) == (6 if anchors == "grid" else 4)
        np.testing.assert_allclose(boxes[:3, :2], middle, atol=1e-5)
        np.testing.assert_allclose(boxes[:, 3], 0.5, atol=1e-5)


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    """Pictures with captions, some of which are missing."""
    tiny_run.plain_figures(monkeypatch)
    config = Config(
        data=DataConfig(
            source=Spec("generated_shapes", rows=40, size=16, most=2),
            modalities={
                "text": Spec("text", column="caption", tokenizer="subwords", buckets=16),
                "image": Spec("image", columns=("image",), size=16, resize="squash"),
            },
            targets={"boxes": Spec("boxes", column="boxes", picture="image", most=2)},
            split=SplitConfig(column="split"),
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=8),
                "image": Spec("image_cnn", channels=(8,), blocks=(0,), stem=4, groups=4, width=8),
            },
            fusion=Spec("concat", width=8),
        ),
        task=Spec("detection", queries=4, depth=2, heads=2, mlp_dim=8, threshold=0.0),
        train=TrainConfig(duration="2 steps", best_metric="ap50", log_every="1 steps"),
    )
    with tiny_run.one_device():
        mmjax.train(config, tmp_path / "run")
        run = mmjax.load_run(tmp_path / "run")
        metrics = run.evaluate()
        dataset = run.dataset()
        row = int(dataset.rows("test")[0])
        cells = dataset.table.row(row)
        found = run.predict(split="test")
        alone = run.predict_one(image=cells["image"], caption=cells["caption"])
        unseen = run.predict_one(image=cells["image"])
    assert {"ap", "ap50", "ap/circle", "ar@100", "matched_iou", "loss"} <= metrics.keys()
    assert found[0]["row"] == row
    assert len(alone["boxes"]) == len(unseen["boxes"]) == 4
    for one, other in zip(alone["boxes"], found[0]["boxes"], strict=True):
        assert one["box"] == pytest.approx(other["box"], abs=1e-5)
        assert one["label"] == other["label"]
    assert (tmp_path / "run" / "report.html").is_file()
