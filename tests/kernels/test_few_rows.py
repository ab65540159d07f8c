import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import NamedSharding, PartitionSpec

from mmjax.kernels.few_rows import few_rows, few_rows_product
from mmjax.parallel.mesh import MeshConfig, make_mesh

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@jax.jit
def run(inputs, weights, cotangent):
    found, back = jax.vjp(few_rows_product, inputs, weights)
    return found, *back(cotangent)


def test_product_and_gradients():
    inputs, weights, cotangent = normal(5, 12), normal(12, 7), normal(5, 7)
    found, of_inputs, of_weights = run(inputs, weights, cotangent)
    x, w, g = map(np.float64, (inputs, weights, cotangent))
    np.testing.assert_allclose(found, x @ w, atol=1e-5)
    np.testing.assert_allclose(of_inputs, g @ w.T, atol=1e-5)
    np.testing.assert_allclose(of_weights, x.T @ g, atol=1e-5)


def test_under_vmap():
    inputs, weights, cotangent = normal(3, 5, 12), normal(12, 7), normal(3, 5, 7)
    found, of_inputs, of_weights = jax.jit(jax.vmap(run, in_axes=(0, None, 0)))(
        inputs, weights, cotangent
    )
    x, w, g = map(np.float64, (inputs, weights, cotangent))
    np.testing.assert_allclose(found, x @ w, atol=1e-5)
    np.testing.assert_allclose(of_inputs, g @ w.T, atol=1e-5)
    np.testing.assert_allclose(of_weights, np.swapaxes(x, 1, 2) @ g, atol=1e-5)


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 1), ("tpu", 0), ("cuda", 0)])
def test_only_a_cpu_gets_the_convolution(platform, convolutions):
    exported = export.export(run, platforms=(platform,))(normal(5, 12), normal(12, 7), normal(5, 7))
    assert exported.mlir_module().count("stablehlo.convolution") == convolutions


def takes(rows, width, dtype=jnp.float32):
    return few_rows(jnp.zeros((rows, width), dtype), jnp.zeros((width, 3), dtype))


def test_what_it_takes():
    assert takes(2, 4)
    assert takes(64, 4)
    assert not takes(1, 4)
    assert not takes(65, 4)
    assert not takes(8, 5)
    assert not takes(8, 4, jnp.bfloat16)


@pytest.mark.skipif(jax.device_count() < 8, reason="eight devices")
def test_each_device_takes_its_own_rows():
    mesh = make_mesh(MeshConfig(8, 1, 1))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    inputs, cotangent = jax.device_put((normal(16, 12), normal(16, 7)), rows)
    weights = jax.device_put(normal(12, 7), NamedSharding(mesh, PartitionSpec()))
    compiled = run.lower(inputs, weights, cotangent).compile()
    text = compiled.as_text()
    assert "all-gather" not in text
    assert text.count(" all-reduce(") == 1  # the gradient of the weights
    np.testing.assert_allclose(
        compiled(inputs, weights, cotangent)[0], np.asarray(inputs) @ weights, atol=1e-5
    )
