"""The backends of attention for accelerators, as far as they go without one."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.core.extras import MissingExtra
from mmjax.kernels import attention_cudnn
from mmjax.kernels.attention import BACKENDS, attention, choose
from mmjax.kernels.attention_problem import Problem

RNG = np.random.default_rng(0)
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0]], bool)
Q, KEYS, VALUES = (RNG.standard_normal((3, n, 2, 8)).astype(np.float32) for n in (4, 6, 6))


def problem(**other):
    settings = {
        "rows": 2,
        "heads": 4,
        "queries": 256,
        "keys": (200, 56),
        "head_dim": 64,
        "dtype": np.dtype(jnp.bfloat16),
        "mask": "keys",
        "bias": False,
        "scale": 0.125,
        "dropout_rate": 0.0,
        "weights": False,
    }
    return Problem(**(settings | other))


@pytest.fixture
def a_gpu(monkeypatch):
    """XLA's formulation in the place of cuDNN's, behind the same function of JAX."""
    monkeypatch.setattr(attention_cudnn, "_IMPLEMENTATION", "xla")
    attention_cudnn.serves.cache_clear()
    yield
    attention_cudnn.serves.cache_clear()


ON_A_GPU = jax.default_backend() == "gpu"


@pytest.mark.skipif(ON_A_GPU, reason="cuDNN is there")
def test_the_choice_on_accelerators():
    for platform in ("tpu", "cuda"):
        assert choose(problem(), platform) == "segments"
        for other in (
            {"mask": "full"},
            {"bias": True},
            {"weights": True},
            {"dropout_rate": 0.1},
            {"queries": 16, "keys": (50,)},
        ):
            assert choose(problem(**other), platform) == "xla"
    assert choose(problem(), "rocm") == "xla"


def test_cudnn_is_chosen_where_it_is_and_serves(a_gpu):
    assert choose(problem(mask="none"), "cuda") == "cudnn"
    assert choose(problem(mask="full"), "cuda") == "cudnn"
    assert choose(problem(mask="none", keys=(51,)), "cuda") == "cudnn"
    assert choose(problem(), "tpu") == "segments"
    for other in ({"dtype": np.dtype("float32")}, {"head_dim": 12}, {"dropout_rate": 0.1}):
        assert choose(problem(**other), "cuda") in ("segments", "xla")
        assert not BACKENDS["cudnn"].serves(problem(**other))


def both(backend, dtype=np.float32):
    """Output and gradients of two segments."""

    def run(q, keys, values):
        def of(q, keys, values):
            cut = [one[:, :4] for one in (keys, values)], [one[:, 4:] for one in (keys, values)]
            masks = [jnp.asarray(one)[:, None, None] for one in (MASK[:, :4], MASK[:, 4:])]
            segments = [tuple(part) for part in zip(*cut, strict=True)]
            return attention(q, *segments, mask=masks, backend=backend)[0]

        output, back = jax.vjp(of, q, keys, values)
        return output, *back(jnp.ones_like(output))

    return jax.jit(run)(*(jnp.asarray(one, dtype) for one in (Q, KEYS, VALUES)))


def like_ours(found, atol):
    theirs, _ = reference.attention(*map(np.float64, (Q, KEYS, VALUES)), MASK)
    np.testing.assert_allclose(np.float64(found[0]), theirs, atol=atol)
    for ours, other in zip(found, both("xla"), strict=True):
        np.testing.assert_allclose(np.float64(ours), np.float64(other), atol=atol)
        assert not np.asarray(ours)[2].any()


def test_own_kernel_is_chosen_for_padding_unless_long(a_gpu):
    assert choose(problem(), "cuda") == "segments"
    assert choose(problem(queries=16, keys=(50,)), "cuda") == "segments"
    assert choose(problem(queries=4096, keys=(4096,)), "cuda") == "cudnn"
    assert choose(problem(bias=True), "cuda") == "cudnn"


def test_what_cudnn_gives_a_row_without_keys_is_taken_back(a_gpu):
    like_ours(both("cudnn", jnp.bfloat16), 0.05)


@pytest.mark.parametrize(("n", "m"), [(3, 6), (4, 5), (3, 5), (4, 6)])
def test_cudnn_is_given_one_mask_a_query_and_even_lengths(a_gpu, monkeypatch, n, m):
    """It refuses others in training; what is added changes nothing."""
    asked = []
    fused = attention_cudnn._fused

    def noting(implementation, queries, keys, values, **options):
        lengths = (queries.shape[1], keys.shape[1])
        masks = [options[name] for name in ("mask", "bias") if options.get(name) is not None]
        asked.append((lengths, [one.shape[2:] for one in masks]))
        return fused(implementation, queries, keys, values, **options)

    monkeypatch.setattr(attention_cudnn, "_fused", noting)
    q, keys, values = (jnp.asarray(one, jnp.bfloat16) for one in (Q[:, :n], KEYS[:, :m], VALUES))
    bias = jnp.asarray(RNG.standard_normal((1, 2, 1, m)), jnp.bfloat16)
    mask = jnp.asarray(MASK[:, None, None, :m])

    def run(backend, **options):
        return attention(q, keys, values[:, :m], backend=backend, **options)[0]

    for options in ({}, {"mask": mask}, {"bias": bias}, {"mask": mask, "bias": bias}):
        found, expected = run("cudnn", **options), run("xla", **options)
        np.testing.assert_allclose(np.float32(found), np.float32(expected), atol=0.03)
    assert any(masks for _, masks in asked)
    asked = [one for one in asked if one[0] != (n, m)] or asked
    assert asked[0][0] == (4, 6)
    for lengths, masks in asked:
        assert all(one == lengths for one in masks)


def test_segments():
    like_ours(both("segments"), 2e-6)


@pytest.mark.skipif(ON_A_GPU, reason="cuDNN is there")
def test_without_cudnn_it_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"backend='cudnn' does not serve"):
        both("cudnn", jnp.bfloat16)


@pytest.mark.skipif(importlib.util.find_spec("tokamax") is not None, reason="tokamax is there")
def test_without_tokamax_the_error_names_the_extra():
    with pytest.raises(MissingExtra, match=r"mmjax\[kernels\]"):
        both("tokamax")


def test_tokamax():
    pytest.importorskip("tokamax", reason="pip install 'mmjax[kernels]'")
    like_ours(both("tokamax"), 2e-6)


@pytest.mark.skipif(ON_A_GPU, reason="cuDNN is there")
def test_the_entry_point_lowers_to_the_kernel_from_a_cpu():
    def array(length, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct((2, length, 2, 64), dtype)

    def loss(q, keys, values, masks):
        return jnp.sum(attention(q, keys, values, mask=masks)[0].astype(jnp.float32))

    masks = tuple(jax.ShapeDtypeStruct((2, 1, 1, length), bool) for length in (100, 200))
    segments = (array(100), array(200))
    traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(array(256), segments, segments, masks)
    kernels = {"tpu": "tpu_custom_call"}
    if jax.__version_info__ < (0, 11):  # later ones ask for a GPU
        kernels["cuda"] = "xla.gpu.triton"
    for platform, call in kernels.items():
        assert call in traced.lower(lowering_platforms=(platform,)).as_text()
    assert "custom_call" not in traced.lower(lowering_platforms=("cpu",)).as_text()
