"""What frozen parameters cost, read from the compiled step: no gradient, no moments, no sums."""

import re

import jax
import numpy as np
import optax
import pytest
import reference
from flax import linen as nn

from mmjax.adapt import build
from mmjax.adapt.wrapping import adapted
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, TaskOutput
from mmjax.nn.dense import dense
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train import adapting
from mmjax.train.config import Config, OptimizerConfig
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

ROWS, GIVEN, HIDDEN = 4, 11, 23
LORA = {"rank": 3, "targets": ("^encoders_x/up$",)}


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, values):
        hidden = dense(HIDDEN, ("embed", "mlp"), name="up")(values)
        return dense(GIVEN, ("mlp", "embed"), name="down")(nn.relu(hidden))


class Model(nn.Module):
    """An encoder and a head, on the mean of squares."""

    @nn.compact
    def __call__(self, batch, *, train):
        encoded = Encoder(name="encoders_x")(batch.inputs["x"]["values"])
        found = dense(2, ("embed", "labels"), name="task")(encoded)
        loss = ((found - batch.targets["y"]) ** 2).mean()
        weight = np.float32(len(batch.row_mask)) * np.ones((), np.float32)
        return TaskOutput(loss, jax.numpy.asarray(weight), {"loss": loss}, {})


def make_batch():
    rng = np.random.default_rng(0)
    return Batch(
        {"x": {"values": rng.standard_normal((ROWS, GIVEN)).astype(np.float32)}},
        {"x": np.ones(ROWS, bool)},
        {"y": rng.standard_normal((ROWS, 2)).astype(np.float32)},
        np.ones(ROWS, bool),
        np.arange(ROWS, dtype=np.int32),
    )


def stepping(mesh_config, adapt, accumulate=1):
    many = mesh_config != MeshConfig(1, 1, 1)
    mesh = make_mesh(mesh_config, jax.devices() if many else jax.devices()[:1])
    config = Config(adapt=adapt, optimizer=OptimizerConfig(learning_rate=0.1, schedule="constant"))
    adapters = tuple((name, build(spec.name, **spec.options)) for name, spec in adapt.items())
    module = adapted(Model(), adapters)
    rule = adapting.optimizer(config, optax.constant_schedule(0.1), 10)
    plan = plan_state(module, rule, make_batch(), mesh, seed=0, ema=False)
    still = adapting.frozen_in(config, plan.abstract.params)
    step = make_step(
        module,
        rule,
        optax.constant_schedule(0.1),
        mesh,
        plan.shardings,
        accumulate=accumulate,
        frozen=still,
    )
    start = plan.abstract.params
    values = reference.random_like(start, scale=0.3)
    state = jax.jit(lambda params: plan_empty(plan, params), out_shardings=plan.shardings)(values)
    return plan, step.lower(state, put_batch(make_batch(), mesh)).compile(), state, mesh


def plan_empty(plan, params):
    zeros = jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), plan.abstract)
    return zeros.replace(params=params)


@pytest.fixture(scope="module")
def lora():
    return stepping(MeshConfig(1, 1, 1), {"mine": Spec("lora", **LORA)})


def test_nothing_is_computed_for_frozen_kernels(lora):
    plan, compiled, _, _ = lora
    text = compiled.as_text()
    products = re.findall(r"= f32\[([\d,]+)\][^=]* dot\(", text)
    # The gradients of the kernels would be products of these shapes, or turned.
    kernels = {f"{GIVEN},{HIDDEN}", f"{HIDDEN},{GIVEN}"}
    assert products
    assert not kernels & set(products)
    moments = {leaf.shape for leaf in jax.tree.leaves(plan.abstract.opt_state) if leaf.ndim}
    assert moments == {(GIVEN, 3), (3, HIDDEN), (GIVEN, 2), (2,)}


def test_all_kernels_have_gradients_where_nothing_is_frozen():
    _, compiled, _, _ = stepping(MeshConfig(1, 1, 1), {})
    products = set(re.findall(r"= f32\[([\d,]+)\][^=]* dot\(", compiled.as_text()))
    assert {f"{GIVEN},{HIDDEN}", f"{HIDDEN},{GIVEN}"} & products


@pytest.mark.parametrize(
    ("mesh_config", "accumulate"),
    [
        (MeshConfig(1, 1, 1), 2),
        pytest.param(MeshConfig(2, 2, 2), 1, marks=pytest.mark.slow),
    ],
    ids=["accumulated", "sharded"],
)
def test_adapters_are_trained_alike_in_parts_and_on_a_mesh(lora, mesh_config, accumulate):
    _, compiled, state, mesh = lora
    expected, values = compiled(jax.tree.map(jax.numpy.copy, state), put_batch(make_batch(), mesh))
    _, other, start, spread = stepping(mesh_config, {"mine": Spec("lora", **LORA)}, accumulate)
    found, same = other(start, put_batch(make_batch(), spread))
    np.testing.assert_allclose(same["loss"], values["loss"], rtol=1e-5)
    np.testing.assert_allclose(same["grad_norm"], values["grad_norm"], rtol=1e-5)
    before = jax.tree_util.tree_leaves_with_path(jax.device_get(state.params))
    ends = zip(jax.tree.leaves(expected.params), jax.tree.leaves(found.params), strict=True)
    for (path, old), (one, two) in zip(before, ends, strict=True):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(one, two, atol=1e-5, err_msg=name)
        assert np.array_equal(old, one) == ("encoders_x'" in name and "adapt" not in name), name
