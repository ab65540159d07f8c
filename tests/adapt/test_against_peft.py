"""Layers and the allocation of ranks against PEFT's torch, on fixed inputs."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mmjax.adapt import build
from mmjax.adapt.allocation import orthogonality
from mmjax.adapt.merging import merge, unmerge
from mmjax.adapt.wrapping import adapted
from mmjax.core.errors import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden" / "adapt"
EVERYWHERE = {"targets": ("query",)}
ADAPTERS = {
    "lora": build("lora", rank=3, alpha=5.0, **EVERYWHERE),
    "rslora": build("lora", rank=3, alpha=5.0, rank_stabilized=True, **EVERYWHERE),
    "dora": build("lora", rank=3, alpha=5.0, dora=True, **EVERYWHERE),
    "ia3": build("ia3", feedforward=(), **EVERYWHERE),
    "ia3_feedforward": build("ia3", feedforward=("query",), **EVERYWHERE),
    "adalora": build("adalora", rank=3, target=2, alpha=5.0, **EVERYWHERE),
}
TURNED = {
    "lora_A.weight": ("a", np.transpose),
    "lora_B.weight": ("b", np.transpose),
    "lora_magnitude_vector.weight": ("scale", np.asarray),
    "lora_A": ("a", np.transpose),
    "lora_B": ("b", np.transpose),
    "lora_E": ("e", np.ravel),
    "ia3_l": ("scale", np.transpose),
}
"""PEFT's name -> ours, and how ours is made of it."""


class Query(nn.Module):
    """Six numbers of four, as two heads."""

    @nn.compact
    def __call__(self, x):
        return nn.DenseGeneral((2, 3), name="query")(x)


@pytest.fixture(scope="module")
def layers():
    with np.load(GOLDEN / "peft_layers.npz") as file:
        return dict(file)


def parts(found, name, what):
    start = f"{name}/{what}/"
    theirs = {key.removeprefix(start): v for key, v in found.items() if key.startswith(start)}
    ours = {TURNED[key][0]: TURNED[key][1](v) for key, v in theirs.items() if key in TURNED}
    if "scale" in ours and name == "dora":
        ours["scale"] = ours["scale"].reshape(2, 3)
    if name == "ia3":
        ours["scale"] = ours["scale"].reshape(1, 2, 3)
    if name == "ia3_feedforward":
        ours["scale"] = ours["scale"].reshape(4, 1, 1)
    if "b" in ours:
        ours["b"] = ours["b"].reshape(3, 2, 3)
    return ours


@pytest.mark.parametrize("name", ADAPTERS)
def test_forward_gradients_and_merged_weights(layers, name):
    adapters = (("mine", ADAPTERS[name]),)
    module = adapted(Query(), adapters)
    base = {
        "kernel": layers[f"{name}/kernel"].T.reshape(4, 2, 3),
        "bias": layers[f"{name}/bias"].reshape(2, 3),
    }
    params = {"query": base, "adapt": {"mine": {"query": parts(layers, name, "own")}}}
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), layers[f"{name}/x"]))["params"]
    same = jax.tree.map(lambda a, b: a.shape == b.shape, nn.unbox(shapes), params)
    assert jax.tree.all(same)
    cotangent = layers[f"{name}/cotangent"].reshape(2, 5, 2, 3)

    @jax.jit
    def run(own, x):
        def loss(own, x):
            found = module.apply({"params": {**params, "adapt": own}}, x)
            return (found * cotangent).sum(), found

        (_, found), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(own, x)
        return found, *grads

    found, own, given = run(params["adapt"], layers[f"{name}/x"])
    np.testing.assert_allclose(found.reshape(2, 5, 6), layers[f"{name}/y"], atol=1e-5)
    np.testing.assert_allclose(given, layers[f"{name}/grad/x"], atol=1e-5, rtol=1e-5)
    expected = parts(layers, name, "grad")
    assert expected.keys() == own["mine"]["query"].keys()
    for key, value in own["mine"]["query"].items():
        np.testing.assert_allclose(value, expected[key], atol=1e-5, rtol=1e-5, err_msg=key)
    merged = merge(params, adapters)
    assert merged.keys() == {"query"}
    kernel = merged["query"]["kernel"].reshape(4, 6).T
    np.testing.assert_allclose(kernel, layers[f"{name}/merged/kernel"], atol=1e-5)
    bias = merged["query"]["bias"].reshape(6)
    np.testing.assert_allclose(bias, layers[f"{name}/merged/bias"], atol=1e-5)
    if name == "dora":
        with pytest.raises(ConfigError, match="DoRA"):
            unmerge(merged, params["adapt"], adapters)
        return
    again = unmerge(merged, params["adapt"], adapters)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), again, params)


def test_ranks_are_allocated_as_by_peft():
    """24 steps of SGD on three layers with given gradients, orthogonality included."""
    with np.load(GOLDEN / "peft_allocation.npz") as file:
        golden = dict(file)
    strategy = build(
        "adalora",
        rank=4,
        target=2,
        targets=("dense",),
        initial=4,
        final=6,
        every=3,
        beta1=0.8,
        beta2=0.7,
        orthogonality=0.3,
    )
    layers = ("dense_0", "dense_1", "dense_2")

    def tree(kind, step=None):
        return {
            layer: {
                TURNED[part][0]: TURNED[part][1](
                    golden[f"{kind}/{layer}.{part}"]
                    if step is None
                    else golden[f"{kind}/{layer}.{part}"][step]
                )
                for part in ("lora_A", "lora_B", "lora_E")
            }
            for layer in layers
        }

    schedule = strategy.schedule(24)
    assert [schedule.budget(step, 12, 6) for step in range(24)] == golden["budget"].tolist()
    start = tree("start")
    np.testing.assert_allclose(orthogonality(start), golden["orthogonality"], rtol=1e-5)
    inner = optax.with_extra_args_support(optax.sgd(0.05))
    optimizer = strategy.optimizer(inner, "mine", 24, None)

    @jax.jit
    def step(state, params, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params = {"adapt": {"mine": jax.tree.map(jnp.asarray, start)}}
    state = optimizer.init(params)
    ranks = []
    for index in range(24):
        given = {"adapt": {"mine": tree("gradient", index)}}
        params, state = step(state, params, given)
        expected = tree("after", index)
        for layer in layers:
            for part, value in params["adapt"]["mine"][layer].items():
                np.testing.assert_allclose(
                    value, expected[layer][part], atol=1e-5, err_msg=f"{index} {layer} {part}"
                )
        ranks.append({k: int(v) for k, v in strategy.watch(state, "mine").items()})
    assert ranks[0]["rank/all"] == 12
    assert ranks[-1]["rank/all"] == 6
    assert len({ranks[-1][f"rank/{layer}"] for layer in layers}) > 1
