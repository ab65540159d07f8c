"""Attention over segments: both formulations against NumPy float64, gradients in closed form."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import export
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mmjax.kernels import partition
from mmjax.kernels.attention import attention
from mmjax.kernels.segment_attention import segment_attention, serves
from mmjax.kernels.segment_pallas import choose_blocks, vmem_bytes
from mmjax.parallel.mesh import BATCH_AXES, MeshConfig, make_mesh, traced_on
from mmjax.parallel.sharding import RULES

ROWS, QUERIES, HEADS, WIDTH = 4, 6, 4, 8
LENGTHS = (5, 0, 6)
RNG = np.random.default_rng(0)


def draw(length, dtype=np.float32):
    return RNG.standard_normal((ROWS, length, HEADS, WIDTH)).astype(dtype)


Q, COTANGENT = draw(QUERIES), draw(QUERIES)
KEYS, VALUES = (tuple(map(draw, LENGTHS)) for _ in range(2))
MASKS = (
    # All, a gap and an end, nothing, nothing; and the last row has no valid key anywhere.
    np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool),
    np.zeros((ROWS, 0), bool),
    np.arange(6) < np.array([[6], [2], [5], [0]]),
)
WHOLE = np.concatenate(MASKS, axis=1)


def gradients(platform):
    """Compiled: the output, and the gradients of its product with a cotangent."""

    def run(q, keys, values, masks, cotangent):
        def of(q, keys, values):
            return segment_attention(q, keys, values, masks, platform=platform)

        output, back = jax.vjp(of, q, keys, values)
        return output, *back(cotangent)

    return run


@pytest.fixture(scope="module", params=["interpret", None])
def run(request):
    return jax.jit(gradients(request.param))


def expected(q, keys, values, mask, cotangent):
    """The softmax's gradient in closed form."""
    q, k, v, do = map(
        np.float64, (q, np.concatenate(keys, 1), np.concatenate(values, 1), cotangent)
    )
    output, p = reference.attention(q, k, v, mask)
    dp = np.einsum("bnkh,bmkh->bknm", do, v)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    cuts = np.cumsum(LENGTHS)[:-1]
    dq = np.einsum("bknm,bmkh->bnkh", ds, k)
    dk = np.split(np.einsum("bknm,bnkh->bmkh", ds, q), cuts, axis=1)
    dv = np.split(np.einsum("bknm,bnkh->bmkh", p, do), cuts, axis=1)
    return output, dq, tuple(dk), tuple(dv)


def close(ours, other, atol):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.float64(a), np.float64(b), atol=atol),
        tuple(ours),
        tuple(other),
    )


def test_output_and_gradients_are_those_of_one_softmax(run):
    close(run(Q, KEYS, VALUES, MASKS, COTANGENT), expected(Q, KEYS, VALUES, WHOLE, COTANGENT), 2e-6)


def test_what_padding_holds_changes_nothing(run):
    hidden = [~mask[:, :, None, None] for mask in MASKS]

    def filled(arrays, content):
        pairs = zip(arrays, hidden, strict=True)
        return tuple(np.where(pad, np.float32(content), one) for one, pad in pairs)

    ours = run(Q, KEYS, VALUES, MASKS, COTANGENT)
    for keys, values in ((1e6, -1e6), (-1e30, 3e38), (3e38, -3e38)):
        other = run(Q, filled(KEYS, keys), filled(VALUES, values), MASKS, COTANGENT)
        jax.tree.map(np.testing.assert_array_equal, ours, other)
    for grads in ours[2:]:
        for grad, pad in zip(grads, MASKS, strict=True):
            assert not np.asarray(grad)[~pad].any()


def test_a_row_without_a_valid_key_is_exactly_zero_and_gives_no_gradient(run):
    for array in jax.tree.leaves(run(Q, KEYS, VALUES, MASKS, COTANGENT)):
        assert np.isfinite(array).all()
        assert not np.asarray(array)[3].any()


def test_large_logits_do_not_overflow(run):
    ours = run(Q * 1e4, KEYS, VALUES, MASKS, COTANGENT)[0]
    theirs, _ = reference.attention(
        np.float64(Q) * 1e4, *(np.concatenate(one, 1) for one in (KEYS, VALUES)), WHOLE
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_bfloat16_operands_have_sums_in_float32(run):
    """Against the float64 result of the rounded operands: only the rounding of p, ds and the
    result is left."""
    q, keys, values, cotangent = jax.tree.map(
        lambda one: jnp.asarray(one, jnp.bfloat16), (Q, KEYS, VALUES, COTANGENT)
    )
    ours = run(q, keys, values, MASKS, cotangent)
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {jnp.dtype("bfloat16")}
    close(ours, expected(q, keys, values, WHOLE, cotangent), 0.03)


def test_agrees_with_the_entry_point():
    q, keys, values, masks = jax.tree.map(jnp.asarray, (Q, KEYS, VALUES, MASKS))
    other, _ = jax.jit(attention)(q, keys, values, mask=[one[:, None, None] for one in masks])
    np.testing.assert_allclose(segment_attention(q, keys, values, masks), other, atol=1e-6)
    ours = jax.jit(lambda *args: segment_attention(*args, [None] * 3, scale=0.3))
    whole, _ = reference.attention(
        *map(np.float64, (Q, np.concatenate(KEYS, 1), np.concatenate(VALUES, 1))), scale=0.3
    )
    np.testing.assert_allclose(ours(q, keys, values), whole, atol=1e-6)


def test_without_any_key_it_is_zero():
    none = jnp.zeros((ROWS, 0, HEADS, WIDTH))
    found = segment_attention(jnp.asarray(Q), [none], [none], [jnp.zeros((ROWS, 0), bool)])
    np.testing.assert_array_equal(found, np.zeros_like(Q))


def test_mapped_over_an_axis_it_is_that_of_each():
    operands = jax.tree.map(lambda one: jnp.stack([one, one[::-1]]), (Q, KEYS, VALUES, MASKS))
    ours = jax.jit(jax.vmap(segment_attention, in_axes=(0, 0, 0, 0)))(*operands)
    alone = jax.jit(segment_attention)(*jax.tree.map(lambda one: one[1], operands))
    np.testing.assert_allclose(ours[1], alone, atol=1e-6)


def abstract(dtype, head_dim=64, queries=70, lengths=(20, 300)):
    def one(length, kind=dtype):
        return jax.ShapeDtypeStruct((2, length, 2, head_dim), kind)

    masks = tuple(jax.ShapeDtypeStruct((2, length), bool) for length in lengths)
    segments = tuple(map(one, lengths))
    return one(queries), segments, segments, masks, one(queries)


NEEDS_A_GPU = jax.__version_info__ >= (0, 11) and jax.default_backend() != "gpu"
without_a_gpu = pytest.mark.skipif(NEEDS_A_GPU, reason="from jax 0.11 on, Triton asks for a GPU")


@pytest.mark.parametrize(
    ("platform", "call", "dtype", "head_dim"),
    [
        ("tpu", "tpu_custom_call", jnp.bfloat16, 64),
        ("tpu", "tpu_custom_call", jnp.float32, 80),
        pytest.param("cuda", "xla.gpu.triton", jnp.bfloat16, 80, marks=without_a_gpu),
    ],
)
def test_lowered_from_a_cpu_it_is_the_kernel_of_the_platform(platform, call, dtype, head_dim):
    """Forward, dQ and one for each segment's dK and dV; no logits, and nothing concatenated."""
    text = (
        jax.jit(gradients(None))
        .trace(*abstract(dtype, head_dim))
        .lower(lowering_platforms=(platform,))
        .as_text()
    )
    assert len(re.findall(rf"custom_call @\S*{call}", text)) == 4
    assert not re.search(r"x(70|80|128)x(20|300|320|384|512)x", text)
    assert not re.search(r"stablehlo.concatenate.*x320x", text)


def test_what_does_not_fit_is_computed_without_the_kernel():
    arguments = abstract(jnp.float32, lengths=(6000,))
    lowered = jax.jit(gradients(None)).trace(*arguments).lower(lowering_platforms=("tpu",))
    assert "tpu_custom_call" not in lowered.as_text()


@without_a_gpu
def test_one_program_for_three_platforms():
    exported = export.export(
        jax.jit(lambda *args: segment_attention(*args)),
        platforms=("cpu", "tpu", "cuda"),
        disabled_checks=[export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")],
    )(*abstract(jnp.float32, 8, 4, (3, 5))[:4])
    text = exported.mlir_module()
    assert "tpu_custom_call" in text
    assert "xla.gpu.triton" in text
    q, keys, values = jax.tree.map(
        lambda one: RNG.standard_normal(one.shape, np.float32), exported_args(exported)[:3]
    )
    masks = tuple(np.ones((2, one.shape[1]), bool) for one in keys)
    theirs, _ = reference.attention(
        *map(np.float64, (q, np.concatenate(keys, 1), np.concatenate(values, 1)))
    )
    np.testing.assert_allclose(exported.call(q, keys, values, masks), theirs, atol=1e-6)


def exported_args(exported):
    args, _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    return args


@pytest.mark.skipif(jax.device_count() < 4, reason="four devices")
def test_each_device_works_on_its_own_rows_and_heads():
    mesh = make_mesh(MeshConfig(2, 1, 2), jax.devices()[:4])
    of_array = NamedSharding(mesh, P("data", None, "tensor"))
    arrays = jax.device_put((Q, KEYS, VALUES), of_array)
    masks = jax.device_put(MASKS, NamedSharding(mesh, P("data")))
    operands = (*arrays, masks, jax.device_put(COTANGENT, of_array))
    compiled = jax.jit(traced_on(mesh, gradients("interpret"))).lower(*operands).compile()
    assert not re.search(r"all-gather|all-reduce|all-to-all|permute", compiled.as_text())
    found = compiled(*operands)
    assert found[0].sharding.spec == P("data", None, "tensor")
    close(found, expected(Q, KEYS, VALUES, WHOLE, COTANGENT), 2e-6)


def test_the_axes_are_those_of_the_mesh():
    assert partition.ROWS == BATCH_AXES
    assert [RULES["heads"]] == list(partition.HEADS)


@pytest.mark.parametrize("length", [1, 50, 128, 129, 197, 600, 640, 1500, 4096])
def test_blocks_divide_the_padded_length(length):
    tpu, cuda = (choose_blocks(platform, length, (length,)) for platform in ("tpu", "cuda"))
    padded = -(-length // 128) * 128
    assert padded % tpu.keys[0] == 0
    assert tpu.keys[0] % 128 == 0
    assert tpu.queries % 16 == 0
    assert tpu.queries <= 256
    for block in (cuda.queries, *cuda.keys):
        assert block in (16, 32, 64)


def test_lengths_that_do_not_fit_are_told():
    assert serves(512, (1500, 197), 64, 4)
    assert serves(3000, (256,), 128, 2)
    assert serves(256, (5000, 3900), 64, 2)
    assert not serves(256, (5000, 5000), 64, 2)
    assert not serves(3000, (256,), 64, 4)
    assert vmem_bytes(256, (4096,), 64, 2) == vmem_bytes(256, (4096,), 128, 2)
    assert serves(9000, (9000,), 128, 2, platform="cuda")
    assert not serves(64, (64,), 192, 2, platform="cuda")
