"""Products against float64, and that those of 16 bits are summed in float32, backward too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.kernels.matmul import dot_general, product

RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((2, 3, 4, 8)).astype(np.float32)
KERNEL = RNG.standard_normal((4, 8, 2, 5)).astype(np.float32)
COTANGENT = RNG.standard_normal((2, 3, 2, 5)).astype(np.float32)
LAST_TWO = (((2, 3), (0, 1)), ((), ()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dense_over_two_axes(dtype):
    inputs, kernel = (jnp.asarray(one, dtype) for one in (INPUTS, KERNEL))

    @jax.jit
    def run(inputs, kernel):
        output, pull = jax.vjp(lambda a, b: dot_general(a, b, LAST_TWO), inputs, kernel)
        return output, *pull(jnp.asarray(COTANGENT, dtype))

    found = run(inputs, kernel)
    given, weights, cotangent = (
        np.float64(jnp.asarray(one, dtype)) for one in (INPUTS, KERNEL, COTANGENT)
    )
    expected = (
        np.einsum("bnkh,khed->bned", given, weights),
        np.einsum("bned,khed->bnkh", cotangent, weights),
        np.einsum("bnkh,bned->khed", given, cotangent),
    )
    rounding = 1e-6 if dtype == "float32" else 2**-8
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(np.float64(ours), theirs, rtol=rounding, atol=rounding)


def test_sums_of_bfloat16_are_not_rounded_on_the_way():
    """257 ones: bfloat16 has no number between 256 and 258."""
    ones = jnp.ones((1, 257), jnp.bfloat16)
    many = jnp.ones((3, 257), jnp.bfloat16)
    run = jax.jit(lambda a, b: product("nd,ed->ne", a, b))
    assert run(ones, many).tolist() == [[257.0] * 3]


def test_other_dimensions_are_those_of_jax():
    """A contraction over the first axis."""
    inputs, kernel = jnp.asarray(INPUTS), jnp.asarray(INPUTS[:, 0, 0])
    first = (((0,), (0,)), ((), ()))
    found = jax.jit(lambda a, b: dot_general(a, b, first, precision=None))(inputs, kernel)
    expected = np.tensordot(np.float64(INPUTS), np.float64(INPUTS[:, 0, 0]), axes=((0,), (0,)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_dense_layers_have_no_product_of_more_than_two_axes():
    """Forward and backward of a projection to heads."""
    from mmjax.nn.dense import dense

    layer = dense((2, 5), ("embed", "heads", "head_dim"), name="layer")
    inputs = jnp.ones((3, 4, 8))
    params = layer.init(jax.random.key(0), inputs)
    traced = jax.make_jaxpr(jax.grad(lambda p: layer.apply(p, inputs).sum()))(params)
    found = []

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                found.append(max(one.aval.ndim for one in (*equation.invars, *equation.outvars)))
            for value in equation.params.values():
                if hasattr(value, "jaxpr"):
                    walk(value.jaxpr)

    walk(traced.jaxpr)
    assert len(found) >= 2
    assert set(found) == {2}
