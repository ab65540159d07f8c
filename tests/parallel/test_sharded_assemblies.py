"""Decisions and exchanging encoders on eight devices: as on one."""

import jax
import numpy as np
import pytest
import reference

from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.models.build import build_model
from mmjax.models.config import ModelConfig
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import batch_sharding, unbox, variable_shardings

ROWS = 8
WORDS = {"vocab_size": 16, "max_length": 4}
FACTS = {
    "modalities": {"text": WORDS, "tags": WORDS},
    "targets": {"label": {"num_labels": 4}},
}
BAGS = {name: Spec("bag_of_subwords", width=8) for name in ("text", "tags")}
BLOCKS = {
    name: Spec(
        "text_transformer",
        width=8,
        depth=1,
        heads=2,
        mlp_dim=16,
        dropout=0.0,
        attention_dropout=0.0,
    )
    for name in ("text", "tags")
}
CASES = {
    "decision": (BAGS, Spec("decision", method=Spec("weighted", weights="solved"), width=8)),
    "hybrid": (
        BLOCKS,
        Spec("hybrid", method=Spec("joint_embedding", width=8), fusion=Spec("concat", width=8)),
    ),
}


def make_batch():
    rng = np.random.default_rng(0)
    inputs = {
        name: {
            "input_ids": rng.integers(0, 16, (ROWS, 4)).astype(np.int32),
            "attention_mask": np.arange(4) < rng.integers(1, 5, (ROWS, 1)),
        }
        for name in BAGS
    }
    present = {"text": np.arange(ROWS) != 2, "tags": np.arange(ROWS) % 3 != 1}
    labels = rng.integers(0, 4, ROWS).astype(np.int32)
    return Batch(inputs, present, {"label": labels}, np.arange(ROWS) < 7, np.arange(ROWS))


@pytest.mark.parametrize("name", CASES)
def test_loss_gradients_and_statistics_are_those_of_one_device(name):
    encoders, fusion = CASES[name]
    module, batch = (
        build_model(ModelConfig(encoders, fusion=fusion), Spec("classification"), FACTS),
        make_batch(),
    )
    mesh = make_mesh(MeshConfig(2, 2, 2))
    boxed = jax.eval_shape(lambda: module.init(jax.random.key(0), batch, train=False))
    shardings = variable_shardings(boxed, mesh)
    variables = reference.random_like(unbox(boxed))
    assert any(any(one.spec) for one in jax.tree.leaves(shardings["params"]))

    def loss(params, variables, batch):
        output, moved = module.apply(
            {**variables, "params": params}, batch, train=True, mutable=["batch_stats"]
        )
        return output.loss, (moved, output.predictions)

    def run(variables, batch):
        grad = jax.value_and_grad(loss, has_aux=True)
        return grad(variables["params"], variables, batch)

    ours = jax.device_get(jax.jit(run)(variables, batch))
    others = jax.jit(run, in_shardings=(shardings, batch_sharding(mesh)))(
        jax.device_put(variables, shardings), jax.device_put(batch, batch_sharding(mesh))
    )
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(ours),
        jax.tree.leaves(jax.device_get(others)),
        strict=True,
    ):
        np.testing.assert_allclose(
            b, a, atol=2e-5 * np.abs(a).max() + 1e-6, err_msg=jax.tree_util.keystr(path)
        )
