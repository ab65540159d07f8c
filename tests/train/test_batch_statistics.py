"""Batch normalisation in the step: averages are those of the whole batch, on every mesh."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import linen as nn

from mmjax.core.types import Batch, TaskOutput
from mmjax.encoders.resnet import ResNet
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

SGD = OptimizerConfig(name="sgd", momentum=0.0, learning_rate=0.1, max_grad_norm=None)
PIXELS = np.random.default_rng(0).standard_normal((8, 8, 8, 3)).astype(np.float32)
BATCH = Batch(
    {"image": {"pixel_values": PIXELS}},
    {"image": np.ones(8, bool)},
    {},
    np.ones(8, bool),
    np.arange(8, dtype=np.int32),
)


class Model(nn.Module):
    @nn.compact
    def __call__(self, batch, *, train):
        encoder = ResNet(stem=8, channels=(8,), depths=(1,), kind="basic", name="encoder")
        tokens = encoder(batch.inputs["image"]["pixel_values"], train=train)
        loss = jnp.mean(jnp.square(tokens.pooled - 1))
        return TaskOutput(loss, jnp.float32(len(tokens.pooled)), {}, {"pooled": tokens.pooled})


def run(mesh_config, batches):
    many = mesh_config != MeshConfig(1, 1, 1)
    devices = jax.local_devices()
    mesh = make_mesh(mesh_config, devices if many else devices[:1])
    schedule = make_schedule(SGD, 10, 0)
    optimizer = make_optimizer(SGD, schedule)
    plan = plan_state(Model(), optimizer, BATCH, mesh, seed=0, ema=False)
    step = make_step(Model(), optimizer, schedule, mesh, plan.shardings)
    state = plan.make()
    start = jax.device_get(state.params)
    found = [jax.device_get(state.collections["batch_stats"]["encoder"])]
    for batch in batches:
        state, _ = step(state, put_batch(batch, mesh))
        found.append(jax.device_get(state.collections["batch_stats"]["encoder"]))
    return start, jax.device_get(state), found


@pytest.fixture(scope="module")
def ran():
    broken = {"image": {"pixel_values": np.full_like(PIXELS, np.nan)}}
    batches = [BATCH, BATCH, dataclasses.replace(BATCH, inputs=broken)]
    return run(MeshConfig(1, 1, 1), batches)


def test_the_averages_move_a_tenth_of_the_way_to_the_batch(ran):
    params, _, (start, first, _, _) = ran
    kernel = np.float64(params["encoder"]["stem"]["conv"]["kernel"])
    seen = reference.convolution(np.float64(PIXELS), kernel, stride=2, pad=3)
    np.testing.assert_array_equal(start["stem"]["norm"]["mean"], 0)
    found = first["stem"]["norm"]
    np.testing.assert_allclose(found["mean"], 0.1 * seen.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * seen.var(axis=(0, 1, 2)), atol=1e-5)


def test_a_skipped_step_leaves_the_averages(ran):
    _, state, (_, _, second, third) = ran
    assert state.skipped == 1
    jax.tree.map(np.testing.assert_array_equal, second, third)


def test_rows_on_eight_devices_give_the_averages_of_one(ran):
    _, _, (_, first, second, _) = ran
    _, _, (_, *many) = run(MeshConfig(2, 2, 2), [BATCH, BATCH])
    for one, other in zip((first, second), many, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, other
        )
