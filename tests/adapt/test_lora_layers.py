"""LoRA and DoRA of convolutions and embeddings against PEFT's torch, on fixed inputs."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjax.adapt import build
from mmjax.adapt.merging import merge, settle, unmerge
from mmjax.adapt.wrapping import adapted
from mmjax.core.errors import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden" / "adapt"
LAYERS = {
    "convolution": lambda: nn.Conv(
        6, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)), name="query"
    ),
    "convolution_1d": lambda: nn.Conv(6, (3,), padding="VALID", name="query"),
    "convolution_of_one": lambda: nn.Conv(6, (1, 1), name="query"),
    "embedding": lambda: nn.Embed(7, 6, name="query"),
}
CASES = [f"{name}{dora}" for name in LAYERS for dora in ("", "_dora")]
OPTIONS = {"rank": 3, "alpha": 5.0, "targets": ("query",)}


class Whole(nn.Module):
    make: Callable

    @nn.compact
    def __call__(self, x):
        return self.make()(x)


def last(array):
    """Channels behind places."""
    return np.moveaxis(array, 1, -1)


def kernel(array):
    return np.moveaxis(array, (0, 1), (-1, -2))


def of(name):
    dora = name.endswith("_dora")
    kind = name.removesuffix("_dora")
    adapter = build("lora", dora=dora, layers=(kind.partition("_")[0],), **OPTIONS)
    return kind, (("mine", adapter),), adapted(Whole(LAYERS[kind]), (("mine", adapter),))


def parts(golden, name, what):
    """PEFT's numbers as ours."""
    own = {
        key.rpartition("/")[2].removesuffix(".weight"): value
        for key, value in golden.items()
        if key.startswith(f"{name}/{what}/") and not key.endswith("/x")
    }
    if "lora_embedding_A" in own:
        found = {"a": own["lora_embedding_A"].T, "b": own["lora_embedding_B"].T}
    else:
        found = {"a": kernel(own["lora_A"]), "b": own["lora_B"].reshape(6, 3).T}
    if "lora_magnitude_vector" in own:
        found["scale"] = own["lora_magnitude_vector"].reshape(6)
    return found


def base(golden, name):
    if name.startswith("embedding"):
        return {"embedding": golden[f"{name}/weight"]}
    return {"kernel": kernel(golden[f"{name}/weight"]), "bias": golden[f"{name}/bias"]}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "peft_more_layers.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def found(golden):
    """Outputs and gradients of all cases, compiled together."""

    def one(name, values, given):
        _, _, module = of(name)
        cotangent = golden[f"{name}/cotangent"]
        cotangent = cotangent if given.dtype == jnp.int32 else last(cotangent)

        def loss(values, shift):
            x = given if given.dtype == jnp.int32 else given + shift
            params = {"query": base(golden, name), "adapt": {"mine": {"query": values}}}
            output = module.apply({"params": params}, x)
            return (output * cotangent).sum(), output

        shift = jnp.zeros(given.shape)
        (_, output), grads = jax.value_and_grad(loss, (0, 1), has_aux=True)(values, shift)
        return output, *grads

    own = {name: parts(golden, name, "own") for name in CASES}
    given = {
        name: golden[f"{name}/x"].astype(np.int32)
        if name.startswith("embedding")
        else last(golden[f"{name}/x"])
        for name in CASES
    }

    @jax.jit
    def everything(own, given):
        return {name: one(name, own[name], given[name]) for name in CASES}

    return everything(own, given)


@pytest.mark.parametrize("name", CASES)
def test_forward_gradients_and_merged_weights(golden, found, name):
    output, own, given = found[name]
    table = name.startswith("embedding")
    turn = np.asarray if table else last
    close = {"atol": 1e-5, "rtol": 1e-5}
    np.testing.assert_allclose(output, turn(golden[f"{name}/y"]), **close)
    if not table:
        np.testing.assert_allclose(given, last(golden[f"{name}/grad/x"]), **close)
    expected = parts(golden, name, "grad")
    assert expected.keys() == own.keys()
    for key, value in own.items():
        np.testing.assert_allclose(value, expected[key], err_msg=key, **close)
    _, adapters, _ = of(name)
    values = {"mine": {"query": parts(golden, name, "own")}}
    params = {"query": base(golden, name), "adapt": values}
    merged = merge(params, adapters)
    whole = golden[f"{name}/merged"]
    key = "embedding" if table else "kernel"
    np.testing.assert_allclose(merged["query"][key], whole if table else kernel(whole), atol=1e-5)
    if not name.endswith("_dora"):
        again = unmerge(merged, values, adapters)
        np.testing.assert_allclose(again["query"][key], params["query"][key], atol=1e-5)


@pytest.mark.parametrize("name", ["convolution_dora", "embedding"])
def test_a_fresh_one_has_these_shapes_and_changes_nothing(golden, name):
    _, adapters, module = of(name)
    x = golden[f"{name}/x"]
    x = x.astype(np.int32) if name == "embedding" else last(x)
    params = nn.unbox(module.init(jax.random.key(0), x))["params"]
    values, expected = params["adapt"]["mine"]["query"], parts(golden, name, "own")
    assert {k: v.shape for k, v in values.items()} == {k: v.shape for k, v in expected.items()}
    settled = settle({**params, "query": base(golden, name)}, adapters)
    plain = LAYERS[name.removesuffix("_dora")]().apply({"params": base(golden, name)}, x)
    np.testing.assert_allclose(module.apply({"params": settled}, x), plain, atol=1e-5)
    began = "a" if name == "embedding" else "b"
    assert not values[began].any()
    assert values["b" if began == "a" else "a"].any()


def test_dense_layers_alone_are_found_by_default():
    adapter = build("lora", **OPTIONS)
    module = adapted(Whole(LAYERS["convolution_of_one"]), (("mine", adapter),))
    with pytest.raises(ConfigError, match="no LoRA fits"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 2, 2, 4)))

    def grouped():
        return nn.Conv(6, (1, 1), feature_group_count=2, name="query")

    module = adapted(Whole(grouped), (("mine", build("lora", layers=("convolution",), **OPTIONS)),))
    with pytest.raises(ConfigError, match="no LoRA fits"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 2, 2, 4)))
