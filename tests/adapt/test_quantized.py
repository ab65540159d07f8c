"""Kernels in four and eight bits: codes and scales by NumPy, layers, and a run that has them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import tiny_run
from flax import linen as nn

from mmjax.adapt import KEY, build
from mmjax.adapt.quantized import NF4, dequantize, quantize
from mmjax.adapt.wrapping import adapted
from mmjax.api.run import load_run
from mmjax.checkpoint.load import load_arrays, stored_leaves
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.nn.dense import dense
from mmjax.parallel.sharding import unbox
from mmjax.train import trainer

RNG = np.random.default_rng(0)


def by_numpy(kernel, form, block):
    """The kernel after both ways, in float64: blocks of inputs of one output, one at a time."""
    found = np.zeros(kernel.shape)
    table = np.array(NF4)
    for output in range(kernel.shape[1]):
        for start in range(0, kernel.shape[0], block):
            part = np.float64(kernel[start : start + block, output])
            most = np.abs(part).max()
            if not most:
                continue
            if form == "int8":
                near = np.round(part / most * 127) / 127
            else:
                near = table[np.abs(part[:, None] / most - table).argmin(axis=1)]
            found[start : start + block, output] = near * most
    return found


@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_codes_stand_for_the_nearest_values_of_their_block(form):
    kernel = RNG.standard_normal((22, 5)).astype(np.float32)
    kernel[:8, 2] = 0
    codes, scales = quantize(kernel, form, 8)
    assert codes.shape == ((3, 4, 5) if form == "nf4" else (3, 8, 5))
    assert codes.dtype == (jnp.uint8 if form == "nf4" else jnp.int8)
    found = dequantize(codes, scales, 22)
    np.testing.assert_allclose(found, by_numpy(kernel, form, 8), atol=2e-6)
    # Layers behind each other are those one by one.
    both = quantize(np.stack([kernel, 2 * kernel]), form, 8)
    np.testing.assert_array_equal(both[0][1], quantize(2 * kernel, form, 8)[0])
    np.testing.assert_allclose(dequantize(*both, 22)[1], 2 * found, rtol=1e-6)


def test_the_table_is_that_of_quantiles():
    """Appendix E: means of neighbouring quantiles of a normal, each side's, divided by the last."""
    from scipy.stats import norm

    offset = 0.9677083
    above = norm.ppf(np.linspace(offset, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(offset, 0.5, 8)[:-1])
    values = np.sort(np.concatenate([above, [0], below]))
    np.testing.assert_allclose(NF4, values / values.max(), atol=1e-6)


class Two(nn.Module):
    """Dense layers with several axes of outputs and of inputs, as attentions have them."""

    @nn.compact
    def __call__(self, values):
        heads = dense((2, 3), ("embed", "heads", "head_dim"), name="query")(values)
        return dense(
            5, ("heads", "head_dim", "embed"), name="out", contract=(-2, -1), use_bias=False
        )(nn.tanh(heads))


@pytest.fixture(scope="module", params=["nf4", "int8"])
def layers(request):
    plain = Two()
    values = RNG.standard_normal((4, 7)).astype(np.float32)
    params = reference.random_like(jax.eval_shape(plain.init, jax.random.key(0), values))["params"]
    quantized = build("quantized", form=request.param, block=4, targets=("^(query|out)$",))
    lora = build("lora", rank=2, targets=("^query$",))
    module = adapted(plain, (("base", quantized), ("mine", lora)))
    made = unbox(module.init(jax.random.key(0), values))["params"]
    return plain, module, quantized, values, unbox(params), made


def test_layers_compute_with_the_kernels_that_their_codes_stand_for(layers):
    plain, module, quantized, values, params, made = layers
    assert set(made) == {"query", KEY}
    assert set(made["query"]) == {"bias"}
    near = {}
    own = {}
    for name, inputs in (("query", 7), ("out", 6)):
        kernel = params[name]["kernel"]
        own[name] = quantized.of(kernel, made[KEY]["base"][name])
        assert jax.tree.map(jnp.shape, own[name]) == jax.tree.map(
            jnp.shape, made[KEY]["base"][name]
        )
        flat = by_numpy(np.reshape(kernel, (inputs, -1)), quantized.form, 4)
        near[name] = {**params[name], "kernel": jnp.float32(flat.reshape(kernel.shape))}
    given = {"query": {"bias": params["query"]["bias"]}, KEY: {**made[KEY], "base": own}}

    def loss(apply, params, values):
        return (apply({"params": params}, values) ** 2).sum()

    # A fresh LoRA changes nothing.
    found, slope = jax.value_and_grad(lambda v: loss(module.apply, given, v))(values)
    other, same = jax.value_and_grad(lambda v: loss(plain.apply, near, v))(values)
    np.testing.assert_allclose(found, other, rtol=1e-5)
    np.testing.assert_allclose(slope, same, atol=1e-4)


def test_dora_needs_the_kernel_itself():
    values = np.ones((1, 4), np.float32)
    both = (
        ("mine", build("lora", rank=2, targets=("^query$",), dora=True)),
        ("base", build("quantized", targets=("^query$",))),
    )
    module = adapted(Two(), tuple(reversed(both)))
    variables = unbox(module.init(jax.random.key(0), values))
    with pytest.raises(ConfigError, match="DoRA"):
        module.apply(variables, values)


def test_odd_blocks_are_refused():
    with pytest.raises(ConfigError, match="block = 3"):
        build("quantized", block=3)


def test_a_run_keeps_codes_and_trains_what_stands_above(tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)
    base = tiny_run.config(
        tiny_run.write_data(tmp_path),
        "train.duration=2 steps",
        "train.evaluate_every=2 steps",
        "train.save_every=2 steps",
    )
    pattern = "^encoders_image/"
    adapt = {
        "mine": Spec("lora", rank=2, targets=(pattern,)),
        "base": Spec("quantized", form="nf4", block=4, targets=(pattern,)),
    }
    config = dataclasses.replace(base, adapt=adapt)
    with tiny_run.one_device():
        trainer.fit(config, tmp_path / "run")
        run = load_run(tmp_path / "run")
        answer = run.predict_one(text="wing beak")
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    leaves = stored_leaves(tmp_path / "run")
    sites = load_arrays(tmp_path / "run", "latest")["params"][KEY]
    assert set(sites["base"]) == set(sites["mine"]) != set()
    assert any(one["codes"].any() for one in sites["base"].values())
    assert any(one["b"].any() for one in sites["mine"].values())
    for site in sites["base"]:
        assert f"params/{site.replace('.', '/')}/kernel" not in leaves
    assert not any("/base/" in path for path in leaves if path.startswith(("ema", "opt_state")))
