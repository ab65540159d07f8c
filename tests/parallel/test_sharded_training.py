"""The compiled step on data x fsdp x tensor gives what it gives on one device.

The model has what splits in its own way: a text transformer, convolutions wide enough that both
axes of a kernel could be split, dropout, the losses of single modalities, and a padding row. Its
pictures have 16 pixels: convolutions of 8 x 8 are where a kernel split both ways went wrong.
"""

import dataclasses

import jax
import numpy as np
import pytest
import reference

from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.models.build import build_model
from mmjax.models.config import ModelConfig
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

STEPS = 4
ROWS = 8
FACTS = {
    "modalities": {
        "text": {"vocab_size": 32, "max_length": 8},
        "image": {"image_size": 16},
    },
    "targets": {"label": {"num_labels": 3, "label_counts": (3, 2, 2)}},
}
MODEL = ModelConfig(
    encoders={
        "text": Spec(
            "text_transformer",
            width=16,
            depth=1,
            heads=2,
            mlp_dim=32,
            dropout=0.1,
            attention_dropout=0.1,
        ),
        "image": Spec(
            "image_cnn", channels=(16, 32), blocks=(0, 1), groups=8, width=16, dropout=0.1
        ),
    },
    fusion=Spec("concat", width=16),
    modality_dropout=0.1,
    auxiliary_loss=0.5,
)
# The trace of sgd holds the gradients of the first step as they are.
OPTIMIZER = OptimizerConfig(
    name="sgd", learning_rate=0.05, warmup="0 steps", weight_decay=0.01, max_grad_norm=None
)


def make_batch(step: int) -> Batch:
    """Texts of several lengths, rows that lack a modality, and at the end a padding row."""
    rng = np.random.default_rng(step)
    row_mask = np.arange(ROWS) < ROWS - 1
    text, image = row_mask & (np.arange(ROWS) != 2), row_mask & (np.arange(ROWS) != 5)
    lengths = rng.integers(1, 9, (ROWS, 1)) * text[:, None]
    return Batch(
        inputs={
            "text": {
                "input_ids": rng.integers(0, 32, (ROWS, 8)).astype(np.int32),
                "attention_mask": np.arange(8) < lengths,
            },
            "image": {"pixel_values": rng.standard_normal((ROWS, 16, 16, 3)).astype(np.float32)},
        },
        present={"text": text, "image": image},
        targets={"label": np.where(row_mask, rng.integers(0, 3, ROWS), -1).astype(np.int32)},
        row_mask=row_mask,
        row=np.where(row_mask, np.arange(ROWS), -1).astype(np.int32),
    )


@dataclasses.dataclass
class Run:
    start: dict
    """The fresh state, on the host."""
    shards: dict
    """The shape of each parameter's part on one device."""
    gradients: dict
    """Of the first step."""
    losses: list[float]
    end: dict
    compiled: int
    blown: tuple
    """The state before and after a picture with an infinite pixel, and the values of that step."""


def train(config: MeshConfig, devices: list[jax.Device], *, blow: bool) -> Run:
    mesh = make_mesh(config, devices)
    module = build_model(MODEL, Spec("classification", dropout=0.1), FACTS)
    schedule = make_schedule(OPTIMIZER, STEPS, 0)
    optimizer = make_optimizer(OPTIMIZER, schedule)
    plan = plan_state(module, optimizer, make_batch(0), mesh, seed=3, ema=True)
    step = make_step(module, optimizer, schedule, mesh, plan.shardings, ema_decay=0.9)
    state = plan.make()
    start = jax.device_get(state)
    shards = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data.shape, state.params)
    gradients, losses = None, []
    for index in range(STEPS):
        state, values = step(state, put_batch(make_batch(index), mesh))
        losses.append(float(values["loss"]))
        if gradients is None:
            gradients = jax.device_get(state.opt_state[0].trace)
    end, blown = jax.device_get(state), ()
    if blow:
        batch = make_batch(9)
        batch.inputs["image"]["pixel_values"][1, 2, 3, 0] = np.inf
        state, values = step(state, put_batch(batch, mesh))
        blown = (end, jax.device_get(state), jax.device_get(values))
    return Run(start, shards, gradients, losses, end, step._cache_size(), blown)


@pytest.fixture(scope="module")
def alone():
    return train(MeshConfig(1, 1, 1), jax.devices()[:1], blow=True)


@pytest.fixture(scope="module")
def spread():
    return train(MeshConfig(2, 2, 2), jax.devices(), blow=False)


def close(ours, other, *, rtol):
    """Leaf by leaf, to `rtol` of the leaf's largest value.

    The bias of attention's keys has no gradient but rounding errors, which are in proportion to the
    largest values of all.
    """
    flat = jax.tree_util.tree_leaves_with_path(ours)
    noise = np.finfo(np.float32).eps * max(np.abs(leaf).max() for _, leaf in flat)
    for (path, a), b in zip(flat, jax.tree.leaves(other), strict=True):
        atol = rtol * np.abs(a).max() + noise
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path))


@pytest.mark.slow
def test_the_start_depends_on_the_seed_not_on_the_mesh(alone, spread):
    jax.tree.map(np.testing.assert_array_equal, alone.start, spread.start)


def test_parameters_are_split(spread):
    image, text = spread.shards["encoders_image"], spread.shards["encoders_text"]
    layer = text["transformer"]["stack"]["layer_0"]
    assert image["stage_1"]["kernel"] == (3, 3, 16, 32 // 4)
    assert layer["mlp"]["up"]["kernel"] == (16 // 2, 32 // 2)
    assert layer["attention"]["query"]["kernel"] == (16 // 2, 2 // 2, 8)
    assert text["words"]["embedding"] == (32 // 2, 16 // 2)


def test_gradients_are_those_of_one_device(alone, spread):
    """Every leaf; a convolution kernel with both axes split got wrong ones."""
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(alone.gradients))
    close(alone.gradients, spread.gradients, rtol=2e-5)


def test_losses_are_those_of_one_device(alone, spread):
    np.testing.assert_allclose(spread.losses, alone.losses, rtol=1e-5)
    assert len(set(alone.losses)) == STEPS


def test_parameters_and_averages_end_as_on_one_device(alone, spread):
    close(alone.end.params, spread.end.params, rtol=2e-5)
    close(alone.end.ema, spread.end.ema, rtol=2e-5)


def test_the_step_is_compiled_once(alone, spread):
    assert alone.compiled == spread.compiled == 1


def test_an_infinite_pixel_leaves_everything_as_it_was_and_is_counted(alone):
    before, after, values = alone.blown
    assert not np.isfinite(values["loss"])
    for name in ("params", "opt_state", "ema", "collections", "key"):
        jax.tree.map(np.testing.assert_array_equal, getattr(before, name), getattr(after, name))
    assert (int(after.step), int(after.skipped), int(after.skipped_in_a_row)) == (STEPS + 1, 1, 1)
    assert int(values["skipped_in_a_row"]) == 1
    assert reference.count(after.params) > 0
