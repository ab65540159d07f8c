import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import NamedSharding, PartitionSpec

from mmjax.kernels.cosine_pooling import cosine_pooling, serves
from mmjax.kernels.joint_embedding import joint_embedding
from mmjax.parallel.mesh import MeshConfig, make_mesh, traced_on

POOLS = ("sum", "mean", "max", "cosine")
PRESENT = np.array(list(itertools.product([True, False], repeat=3)))
"""Every way of missing some of three modalities; the last row has none."""
ROWS, WIDTH = len(PRESENT), 6
STEP = 1e-5


def draw(seed=0):
    """Inputs, weights and biases of three modalities, and a temperature."""
    rng = np.random.default_rng(seed)
    sizes = (5, 3, 4)
    inputs = [rng.standard_normal((ROWS, size)) for size in sizes]
    weights = [rng.standard_normal((size, WIDTH)) for size in sizes]
    biases = [rng.standard_normal(WIDTH) for _ in sizes]
    return {"inputs": inputs, "weights": weights, "biases": biases, "temperature": np.array(0.4)}


OF_POOLED = np.random.default_rng(1).standard_normal((ROWS, WIDTH))
OF_COEFFICIENTS = np.random.default_rng(2).standard_normal((ROWS, 3))


def loss(found):
    pooled, coefficients = found
    total = (pooled * OF_POOLED).sum()
    return total if coefficients is None else total + (coefficients * OF_COEFFICIENTS).sum()


def expected(pool, given):
    """Row by row over the vectors that are there, in float64."""
    pooled, coefficients = np.zeros((ROWS, WIDTH)), np.zeros((ROWS, 3))
    for row, present in enumerate(PRESENT):
        if not present.any():
            continue
        vectors = np.stack(
            [
                x[row] @ w + b
                for x, w, b, here in zip(
                    given["inputs"], given["weights"], given["biases"], present, strict=True
                )
                if here
            ]
        )
        shares = np.ones(len(vectors))
        if pool == "max":
            pooled[row] = vectors.max(axis=0)
            continue
        if pool == "mean":
            shares /= len(vectors)
        elif pool == "cosine":
            units = vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True) + 1e-6)
            centre = units.mean(axis=0)
            cosines = units @ centre / np.sqrt(centre @ centre + 1e-6)
            shares = np.exp(cosines / given["temperature"])
            shares /= shares.sum()
        coefficients[row, present] = shares
        pooled[row] = shares @ vectors
    return pooled, None if pool == "max" else coefficients


@pytest.fixture(scope="module", params=[*POOLS, "cosine in the kernel"])
def compiled(request):
    """The pool, and its result with the gradients of `loss` to everything."""
    pool, _, kernel = request.param.partition(" ")

    def both(given):
        def run(given):
            found = joint_embedding(
                given["inputs"],
                given["weights"],
                present=jnp.asarray(PRESENT),
                pool=pool,
                biases=given["biases"],
                temperature=given["temperature"],
                backend="pallas" if kernel else None,
            )
            return loss(found), found

        grads, found = jax.grad(run, has_aux=True)(given)
        return found, grads

    run = jax.jit(both)
    return pool, lambda given: run(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), given))


def test_agrees_with_the_definition(compiled):
    pool, run = compiled
    (pooled, coefficients), grads = run(draw())
    expected_pooled, expected_coefficients = expected(pool, draw())
    np.testing.assert_allclose(pooled, expected_pooled, atol=2e-6)
    if pool == "max":
        assert coefficients is None
    else:
        np.testing.assert_allclose(coefficients, expected_coefficients, atol=1e-6)
    rng = np.random.default_rng(3)
    leaves, structure = jax.tree.flatten(draw())
    for place, (leaf, grad) in enumerate(zip(leaves, jax.tree.leaves(grads), strict=True)):
        direction = rng.standard_normal(leaf.shape)
        ends = []
        for sign in (1, -1):
            moved = [*leaves]
            moved[place] = leaf + sign * STEP * direction
            ends.append(loss(expected(pool, jax.tree.unflatten(structure, moved))))
        slope = (ends[0] - ends[1]) / (2 * STEP)
        assert (np.float64(grad) * direction).sum() == pytest.approx(slope, abs=1e-4), place


def test_what_an_absent_modality_holds_changes_nothing(compiled):
    _, run = compiled
    other = draw()
    other["inputs"] = [
        np.where(PRESENT[:, place : place + 1], one, 1e4)
        for place, one in enumerate(other["inputs"])
    ]
    ours, theirs = run(draw()), run(other)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    for place, grad in enumerate(ours[1]["inputs"]):
        grad = np.asarray(grad)
        assert not grad[~PRESENT[:, place]].any()
        assert grad[PRESENT[:, place]].any(axis=1).all()


def test_a_row_without_any_modality_is_zero(compiled):
    (pooled, coefficients), _ = compiled[1](draw())
    assert not np.asarray(pooled)[-1].any()
    assert coefficients is None or not np.asarray(coefficients)[-1].any()


def test_a_modality_alone_has_all_the_weight():
    run = jax.jit(lambda x, w: joint_embedding([x], [w], pool="cosine")[1])
    weights = run(np.full((2, 3), 0.1, np.float32), np.ones((3, 4), np.float32))
    np.testing.assert_array_equal(weights, 1.0)


def test_vectors_of_zeros_have_finite_gradients():
    """Their cosine is 0, and so are all weights equal."""

    def run(vectors):
        pooled, weights = cosine_pooling(vectors, jnp.ones((1, 2)))
        return pooled.sum() + weights[0, 0], weights

    zeros = np.zeros((1, 4), np.float32)
    grads, weights = jax.jit(jax.grad(run, has_aux=True))((zeros, zeros))
    np.testing.assert_allclose(weights, 0.5)
    np.testing.assert_allclose(grads, 0.5)


def test_the_first_of_equal_channels_has_the_gradient():
    @jax.jit
    def run(inputs):
        def total(inputs):
            return joint_embedding(inputs, [jnp.eye(2)] * 3, pool="max")[0].sum()

        return jax.value_and_grad(total)(inputs)

    first, second = np.array([[[1, 2]], [[1, 3]]], np.float32)
    np.testing.assert_array_equal(
        np.concatenate(run((first, second, second))[1]), [[1, 0], [0, 1], [0, 0]]
    )
    assert np.isnan(run((first * np.nan, second, second))[0])


def test_bfloat16_is_summed_in_float32():
    """1000.5 and -1000 leave 0.5; rounded to bfloat16 first, they would leave 0."""
    inputs = [jnp.ones((2, 2001), jnp.bfloat16), jnp.ones((2, 1000), jnp.bfloat16)]
    weights = [jnp.full((2001, 3), 0.5, jnp.bfloat16), jnp.full((1000, 3), -1.0, jnp.bfloat16)]
    pooled, coefficients = joint_embedding(inputs, weights)
    assert (pooled.dtype, coefficients.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_array_equal(np.float32(pooled), 0.5)


def test_all_products_are_of_the_operands_own_type():
    """A float32 cotangent would send the backward products through slower units."""
    given = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16),
        {name: draw()[name] for name in ("inputs", "weights")},
    )

    def run(given):
        return joint_embedding(**given, pool="cosine")[0].astype(jnp.float32).sum()

    text = jax.jit(jax.grad(run)).lower(given).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 9
    for line in products:
        operands, _, result = line.partition(" : ")[2].partition("->")
        assert operands.count("bf16") == 2, line
        assert "f32" in result, line


def vectors_of(rows, width):
    rng = np.random.default_rng(4)
    present = rng.random((rows, 3)) < 0.7
    vectors = tuple(
        np.float32(rng.standard_normal((rows, width)) * present[:, place : place + 1])
        for place in range(3)
    )
    cotangents = np.float32(rng.standard_normal((rows, width))), np.float32(rng.random((rows, 3)))
    return (vectors, np.float32(present), np.float32(0.7)), cotangents


def pull(backend, cotangents):
    """`cosine_pooling` and its gradients."""

    def both(*operands):
        found, back = jax.vjp(lambda *given: cosine_pooling(*given, backend=backend), *operands)
        of_vectors, _, of_temperature = back(cotangents)
        return found, of_vectors, of_temperature

    return both


def test_the_kernel_equals_xla_in_blocks_that_do_not_divide_the_rows():
    operands, cotangents = vectors_of(300, 128)
    ours, theirs = (jax.jit(pull(backend, cotangents))(*operands) for backend in ("pallas", "xla"))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.skipif(jax.device_count() < 8, reason="eight devices")
def test_the_kernel_is_split_over_the_rows():
    """Each device pools its own; only the gradient of the temperature is summed over them."""
    operands, cotangents = vectors_of(16, 8)
    run = pull("pallas", cotangents)
    mesh = make_mesh(MeshConfig(4, 2, 1))
    over = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    vectors, present, temperature = operands
    placed = (*jax.device_put((vectors, present), over), temperature)
    compiled = jax.jit(traced_on(mesh, run)).lower(*placed).compile()
    text = compiled.as_text()
    assert text.count(" all-reduce(") == 1
    assert "all-gather" not in text
    for a, b in zip(
        jax.tree.leaves(compiled(*placed)), jax.tree.leaves(jax.jit(run)(*operands)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("backend", "width", "platforms", "kernels"),
    [
        (None, 128, ("tpu",), 2),
        (None, 100, ("tpu",), 0),
        ("xla", 128, ("tpu",), 0),
        ("pallas", 100, ("tpu",), 2),
        (None, 128, ("cuda",), 0),
        (None, 128, ("cpu", "cuda", "tpu"), 2),
    ],
)
def test_lowers_for_other_platforms(backend, width, platforms, kernels):
    """The platform counts that the program is for, not the one it is lowered on."""
    operands, cotangents = vectors_of(8, width)
    exported = export.export(jax.jit(pull(backend, cotangents)), platforms=platforms)(*operands)
    text = exported.mlir_module()
    assert text.count("stablehlo.custom_call @tpu_custom_call") == kernels
    assert "stablehlo.custom_call" not in text.replace("stablehlo.custom_call @tpu_custom_call", "")


def test_the_kernel_serves_what_fits_the_vector_memory():
    assert serves(1024, 3)
    assert serves(8192, 3)
    assert not serves(1000, 3)
    assert not serves(2**16, 3)
