"""Each backend of attention against the formula in float64, forward and gradient."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.kernels import attention as entry
from mmjax.kernels.attention import BACKENDS, attention, choose
from mmjax.kernels.attention_problem import Operands, problem_of

RNG = np.random.default_rng(0)
QUERIES, KEYS, VALUES = (RNG.standard_normal((3, n, 2, 8)).astype(np.float32) for n in (4, 5, 5))
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
ARRAYS = [jnp.asarray(one) for one in (QUERIES, KEYS, VALUES)]
BIAS = RNG.standard_normal((1, 2, 4, 5)).astype(np.float32)
COTANGENT = RNG.standard_normal(QUERIES.shape).astype(np.float32)


def expected(queries, keys, values, mask=None, bias=None):
    """The output in float64, and its gradients by the chain rule, written out."""
    shape = (3, 2, 4, 5)
    bias = None if bias is None else np.broadcast_to(bias, shape)
    arrays = [np.float64(one) for one in (queries, keys, values)]
    output, weights = reference.attention(*arrays, mask, bias)
    queries, keys, values = arrays
    of_weights = np.einsum("bnkh,bmkh->bknm", np.float64(COTANGENT), values)
    inner = (weights * of_weights).sum(axis=-1, keepdims=True)
    of_logits = weights * (of_weights - inner)
    scale = queries.shape[-1] ** -0.5
    return output, (
        np.einsum("bknm,bmkh->bnkh", of_logits, keys) * scale,
        np.einsum("bknm,bnkh->bmkh", of_logits, queries) * scale,
        np.einsum("bknm,bnkh->bmkh", weights, np.float64(COTANGENT)),
        of_logits,
    )


@functools.cache
def compiled(backend, masked, biased, segments):
    """Output and gradients; the keys in so many segments of which the last has no padding."""
    cuts = np.cumsum([2, 0])[: segments - 1] if segments > 1 else []

    def split(one):
        return tuple(jnp.split(one, cuts, axis=1)) if segments > 1 else one

    @jax.jit
    def run(queries, keys, values, bias, mask):
        def weighted(queries, keys, values, bias):
            masks = tuple(jnp.split(mask, cuts, axis=-1)) if segments > 1 else mask
            output, _ = attention(
                queries,
                split(keys),
                split(values),
                mask=masks if masked else None,
                bias=bias if biased else None,
                backend=backend,
            )
            return jnp.sum(output * COTANGENT), output

        found = jax.grad(weighted, argnums=(0, 1, 2, 3), has_aux=True)
        grads, output = found(queries, keys, values, bias)
        return output, grads

    return run


CASES = {
    "plain": (False, False, 1),
    "masked": (True, False, 1),
    "masked and biased, in segments": (True, True, 3),
}
XLA_ONLY = sorted(name for name in BACKENDS if name in ("xla", "chunked"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", XLA_ONLY)
def test_backend_is_the_formula(backend, case):
    masked, biased, segments = CASES[case]
    run = compiled(backend, masked, biased, segments)
    output, grads = run(QUERIES, KEYS, VALUES, BIAS, MASK[:, None, None])
    mask, bias = MASK if masked else None, BIAS if biased else None
    theirs, their_grads = expected(QUERIES, KEYS, VALUES, mask, bias)
    np.testing.assert_allclose(output, theirs, atol=2e-6)
    for ours, due in zip(grads[:3], their_grads[:3], strict=True):
        np.testing.assert_allclose(ours, due, atol=3e-6)
    if biased:
        np.testing.assert_allclose(grads[3][0], their_grads[3].sum(axis=0), atol=3e-6)
    if masked:
        for one in (output, *grads[:3]):
            assert not np.asarray(one)[2].any()


@pytest.mark.parametrize("backend", XLA_ONLY)
def test_padding_of_any_size_changes_nothing(backend):
    masked, biased, segments = CASES["masked and biased, in segments"]
    run = compiled(backend, masked, biased, segments)
    hidden = ~MASK[:, :, None, None]
    mask = MASK[:, None, None]
    ours = run(QUERIES, KEYS, VALUES, BIAS, mask)
    for keys, values in ((1e30, -1e30), (-1e30, 1e30), (0.0, 3e38)):
        filled = np.where(hidden, keys, KEYS), np.where(hidden, values, VALUES)
        other = run(QUERIES, *map(np.float32, filled), BIAS, mask)
        jax.tree.map(np.testing.assert_array_equal, ours, other)


def test_mask_for_each_query_and_bias_for_each_row():
    """A causal mask, one for all rows and heads; a bias of one head."""
    causal = np.tri(4, 5, dtype=bool)
    bias = RNG.standard_normal((3, 1, 4, 5)).astype(np.float32)
    hidden = np.where(causal, bias, -np.inf)
    theirs, _ = reference.attention(
        *map(np.float64, (QUERIES, KEYS, VALUES)), bias=np.repeat(hidden, 2, axis=1)
    )
    for backend in XLA_ONLY:
        options = {"mask": jnp.asarray(causal[None, None]), "backend": backend}
        run = jax.jit(lambda b, options=options: attention(*ARRAYS, bias=b, **options)[0])
        np.testing.assert_allclose(run(bias), theirs, atol=2e-6)


@pytest.mark.parametrize("backend", XLA_ONLY)
def test_bfloat16_runs_forward_and_backward(backend):
    """Within the rounding of bfloat16 operands, 2**-8 each; sums are not rounded."""
    arrays = [jnp.asarray(one, jnp.bfloat16) for one in (QUERIES, KEYS, VALUES, BIAS)]
    run = compiled(backend, *CASES["masked"])
    output, grads = run(*arrays, MASK[:, None, None])
    assert output.dtype == grads[0].dtype == jnp.bfloat16
    rounded = [np.asarray(one, np.float32) for one in arrays[:3]]
    theirs, their_grads = expected(*rounded, MASK)
    for ours, due in zip((output, *grads[:3]), (theirs, *their_grads[:3]), strict=True):
        np.testing.assert_allclose(np.float32(ours), due, atol=2**-5, rtol=2**-6)


def problem(rows=2, queries=64, keys=(197,), **options):
    def array(length):
        return jax.ShapeDtypeStruct((rows, length, 12, 64), jnp.float32)

    options = {"scale": 0.1, "dropout_rate": 0.0, "weights": False, **options}
    found = []

    def trace(queries, keys):
        masks = (None,) * len(keys)
        found.append(problem_of(Operands(queries, keys, keys, masks, None, None), **options))

    jax.eval_shape(trace, array(queries), tuple(map(array, keys)))
    return found[0]


def test_long_keys_are_chunked_on_cpu_alone():
    long = problem(queries=512, keys=(1000, 500))
    assert choose(problem(), "cpu") == "xla"
    assert choose(long, "cpu") == "chunked"
    assert choose(problem(queries=512, keys=(1500,), weights=True), "cpu") == "xla"
    assert choose(long, "tpu") != "chunked"


def test_the_platform_is_that_of_the_lowered_program(monkeypatch):
    """Lowered on this CPU for TPU: no loop over heads there."""
    monkeypatch.setattr(entry, "_CACHE", 0)
    traced = jax.jit(jax.grad(lambda q: attention(q, *ARRAYS[1:])[0].sum())).trace(QUERIES)
    cpu, tpu = (traced.lower(lowering_platforms=(one,)).as_text() for one in ("cpu", "tpu"))
    assert "while" in cpu
    assert "while" not in tpu


def test_a_backend_that_does_not_serve_is_refused():
    with pytest.raises(ConfigError, match=r"backend='chunk' .* did you mean 'chunked'"):
        attention(*ARRAYS, backend="chunk")
    with pytest.raises(ConfigError, match=r"'chunked' does not serve .*weights=True.* xla"):
        attention(*ARRAYS, backend="chunked", return_weights=True)
