"""Objectives with state, samples and averaged encoders: in a model, in micro-batches, on a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from test_pretraining import ROWS, Small, make_batch, one_step

from mmjax import fusion, objectives
from mmjax.encoders.dual_tower import unit_length
from mmjax.models.pretraining import JointProjections, Pretraining
from mmjax.parallel.mesh import MeshConfig


def make_module(**terms):
    return Pretraining(
        encoders={"text": Small(), "image": Small()},
        objectives=terms,
        joint=JointProjections(width=4),
        fusion=fusion.build("concat", width=8),
    )


def several(chunk=None):
    return make_module(
        momentum=objectives.build("momentum_contrastive", queue_size=40, chunk=chunk),
        matching=objectives.build("matching"),
        triplet=objectives.build("triplet", mining="all", chunk=chunk),
        vicreg=objectives.build("vicreg", width=4, depth=1, weight=0.1),
        distillation=objectives.build("distillation", chunk=chunk),
    )


@pytest.fixture(scope="module")
def whole():
    return one_step(several(), 1, MeshConfig(1, 1, 1), ema=True)


@pytest.mark.parametrize(
    "mesh",
    [MeshConfig(1, 1, 1), pytest.param(MeshConfig(2, 2, 2), marks=pytest.mark.slow)],
    ids=str,
)
def test_micro_batches_and_chunks_on_a_mesh_give_the_step_of_the_whole_batch(whole, mesh):
    """Loss, gradients, sums, and the queue: the same negatives are sampled."""
    state, values = one_step(several(chunk=8), 2, mesh, ema=True)
    assert values["loss"] == pytest.approx(float(whole[1]["loss"]), rel=1e-6)
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=2e-5),
        (state.params, values["sums"], state.collections),
        (whole[0].params, whole[1]["sums"], whole[0].collections),
    )


def test_the_queue_holds_the_averaged_vectors_of_rows_that_have_both(whole):
    queue = whole[0].collections["queue"]["objectives_momentum"]
    kept = [row for row in range(ROWS - 1) if row != 3]
    assert queue["row"].tolist() == kept + [-1] * (40 - len(kept))
    assert int(queue["filled"]) == int(queue["next"]) == len(kept)
    lengths = np.linalg.norm(queue["vectors"]["text"], axis=1)
    np.testing.assert_allclose(lengths, np.arange(40) < len(kept), atol=1e-6)


def test_averaged_vectors_go_through_the_averaged_projection():
    module = make_module(momentum=objectives.build("momentum_contrastive", queue_size=ROWS))
    variables = nn.unbox(module.init(jax.random.key(0), make_batch(), train=False))
    random = np.random.default_rng(0)
    average = jax.tree.map(
        lambda x: (x + random.standard_normal(x.shape)).astype(np.float32), variables["params"]
    )
    batch = make_batch()

    @jax.jit
    def run(params):
        given = {**variables, "params": params, "momentum": average}
        output, new = module.apply(given, batch, train=True, mutable=["queue"])
        return output.loss, new["queue"]["objectives_momentum"]["vectors"]

    _, queue = run(variables["params"])
    rows = np.flatnonzero(batch.present["text"] & batch.present["image"])
    for name in ("text", "image"):
        layer = average[f"encoders_{name}"]["layer"]
        hidden = np.tanh(batch.inputs[name]["values"][rows] @ layer["kernel"] + layer["bias"])
        expected = unit_length(jnp.asarray(hidden.mean(1) @ average["joint"][name]["kernel"]))
        np.testing.assert_allclose(queue[name][: len(rows)], expected, atol=1e-5)
