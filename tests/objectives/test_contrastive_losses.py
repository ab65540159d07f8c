import jax
import jax.numpy as jnp
import losses
import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.objectives import clip_loss, siglip_loss
from mmjax.objectives.pairwise import chunk_of

RNG = np.random.default_rng(0)
A, B = (losses.unit(RNG.standard_normal((8, 5))).astype(np.float32) for _ in range(2))
MASK = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool)
CASES = {
    "clip": (
        lambda a, b, s, **o: clip_loss(a, b, s, label_smoothing=0.1, **o),
        lambda a, b, s, **o: losses.clip(a, b, s, smoothing=0.1, **o),
        (A, B, np.float32(20.0)),
    ),
    "siglip": (siglip_loss, losses.siglip, (A, B, np.float32(10.0), np.float32(-3.0))),
}


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("name", sorted(CASES))
def test_loss_and_gradient_agree_with_the_formula(name, chunk):
    ours, theirs, arrays = CASES[name]

    @jax.jit
    def run(arrays, mask):
        loss = lambda *arrays: ours(*arrays, mask=mask, chunk=chunk)  # noqa: E731
        return jax.value_and_grad(loss, argnums=tuple(range(len(arrays))))(*arrays)

    for mask in (np.ones(8, bool), MASK):
        loss, grads = run(arrays, mask)
        expected = lambda *arrays, mask=mask: theirs(*arrays, mask=mask)  # noqa: E731
        assert float(loss) == pytest.approx(expected(*arrays), rel=2e-6)
        for grad, (direction, slope) in zip(grads, losses.slopes(expected, arrays), strict=True):
            assert float((np.float64(grad) * direction).sum()) == pytest.approx(slope, abs=2e-5)
        assert not np.asarray(grads[0])[~mask].any()


@pytest.mark.parametrize("name", sorted(CASES))
def test_no_row_at_all_is_zero_without_a_gradient(name):
    ours, _, arrays = CASES[name]
    loss, grad = jax.value_and_grad(lambda a: ours(a, *arrays[1:], mask=jnp.zeros(8, bool)))(A)
    assert float(loss) == 0.0
    assert not np.asarray(grad).any()


def test_untrained_embeddings_give_the_logarithm_of_the_batch():
    same = jnp.ones((8, 5))
    assert float(clip_loss(same, same, 1.0)) == pytest.approx(np.log(8), rel=1e-6)


def test_a_chunk_that_does_not_divide_the_batch_is_refused():
    prime = np.concatenate([A, A])[:13]
    with pytest.raises(ConfigError, match=r"chunk=5 does not divide the batch of 13.*1 or 13"):
        clip_loss(prime, prime, 1.0, chunk=5)
    with pytest.raises(ConfigError, match=r"chunk=0 does not divide the batch of 8.*1 or 2"):
        clip_loss(A, B, 1.0, chunk=0)


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_largest_buffer_of_the_chunked_loss_grows_with_the_chunk(name):
    """Temporary memory of the compiled gradient, whole and chunked, at two sizes of the batch."""
    ours, _, arrays = CASES[name]

    def temporary(rows, chunk):
        shape = jax.ShapeDtypeStruct((rows, 8), jnp.float32)
        loss = lambda a, b: ours(a, b, *arrays[2:], chunk=chunk)  # noqa: E731
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(shape, shape).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole, chunked = temporary(1024, None), temporary(1024, 64)
    assert whole >= 1024 * 1024 * 4
    assert chunked < 1024 * 64 * 4 * 5
    # With a fixed chunk, twice the rows take twice the memory, not four times.
    assert temporary(2048, 64) < 2.5 * chunked


def test_a_large_batch_is_held_in_parts_unless_told():
    chosen = [chunk_of(None, size) for size in (8, 4096, 4104, 8192, 32768, 10_007)]
    assert chosen == [8, 4096, 684, 1024, 1024, 10_007]
    assert chunk_of(2048, 8192) == 2048


def test_a_batch_of_another_size_is_held_in_parts_that_divide_it():
    """A run that was trained in chunks of 256 is evaluated in batches of its own."""
    assert [chunk_of(256, size) for size in (1024, 640, 256, 200, 3)] == [256, 160, 256, 200, 3]
