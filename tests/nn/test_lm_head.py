import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta
from scipy.special import ndtr

from mmjax.nn.lm_head import LMHead, token_losses

B, N, D, V = 3, 5, 4, 7


def arrays():
    rng = np.random.default_rng(0)
    hidden, kernel = rng.standard_normal((B, N, D)), rng.standard_normal((D, V))
    bias, labels = rng.standard_normal(V), rng.integers(0, V, (B, N))
    return *(x.astype(np.float32) for x in (hidden, kernel, bias)), labels.astype(np.int32)


def expected(hidden, kernel, bias, labels, smoothing=0.0):
    """Each token's loss and its gradient by the logits, in float64."""
    logits = hidden.astype(np.float64) @ kernel + bias
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    targets = (1 - smoothing) * np.eye(V)[labels] + smoothing / V
    losses = -(targets * np.log(shares)).sum(-1)
    return losses, shares - targets, logits.argmax(-1) == labels


@pytest.mark.parametrize(("most", "smoothing"), [(10**6, 0.1), (2 * B * V, 0.1), (1, 0.0)])
def test_losses_whole_and_in_slices(most, smoothing):
    """Slices of all places, of two (which do not divide five) and of one."""
    hidden, kernel, bias, labels = arrays()
    weights = np.random.default_rng(1).uniform(size=(B, N)).astype(np.float32)

    def loss(hidden, kernel, bias):
        losses, right = token_losses(
            hidden, kernel, bias, jnp.asarray(labels), label_smoothing=smoothing, most_logits=most
        )
        return (losses * weights).sum(), (losses, right)

    of = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    grads, (losses, right) = of(hidden, kernel, bias)
    ours, slopes, likeliest = expected(hidden, kernel, bias, labels, smoothing)
    np.testing.assert_allclose(losses, ours, rtol=1e-6)
    np.testing.assert_array_equal(right, likeliest)
    slopes = slopes * weights[..., None]
    wanted = slopes @ kernel.T, np.einsum("bnd,bnv->dv", hidden, slopes), slopes.sum((0, 1))
    for grad, want in zip(grads, wanted, strict=True):
        np.testing.assert_allclose(grad, want, rtol=1e-5, atol=1e-6)


def test_slices_hold_few_logits():
    """The compiled program has no array of the size of all logits."""
    hidden, kernel, labels = jnp.zeros((2, 64, 4)), jnp.zeros((4, 1000)), jnp.zeros((2, 64), int)

    def loss(hidden, kernel):
        return token_losses(hidden, kernel, None, labels, most_logits=8000)[0].sum()

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(hidden, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * 64 * 1000 * 4


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("transform", [False, True])
def test_head(tied, transform):
    """Its logits are those of NumPy, its parameters no more than it needs, its losses theirs."""
    hidden, _, _, labels = map(jnp.asarray, arrays())
    width = 6 if transform and tied else D
    table = np.random.default_rng(2).standard_normal((V, width)).astype(np.float32)
    head = LMHead(vocab_size=V, transform=transform)
    given = jnp.asarray(table) if tied else None
    shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), hidden, given))["params"]
    names = {"bias", *(() if tied else ("kernel",)), *(("transform", "norm") if transform else ())}
    assert set(shapes) == names
    rng = np.random.default_rng(3)
    params = meta.unbox(
        jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes)
    )
    logits = head.apply({"params": params}, hidden, given)
    values = np.float64(hidden)
    if transform:
        values = values @ params["transform"]["kernel"] + params["transform"]["bias"]
        values = values * ndtr(values)
        values = (values - values.mean(-1, keepdims=True)) / values.std(-1, keepdims=True)
        values = values * params["norm"]["scale"] + params["norm"]["bias"]
    kernel = table.T if tied else params["kernel"]
    np.testing.assert_allclose(logits, values @ kernel + params["bias"], rtol=1e-4, atol=1e-5)
    losses, _ = head.apply({"params": params}, hidden, labels, given, method="losses")
    normal = logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    np.testing.assert_allclose(
        losses, -np.take_along_axis(np.asarray(normal), labels[..., None], -1)[..., 0], rtol=1e-5
    )


def test_types():
    """bfloat16 in, float32 losses; parameters are stored as asked."""
    head = LMHead(vocab_size=V, transform=True, dtype=jnp.bfloat16)

    def run():
        values = jnp.zeros((B, N, D), jnp.bfloat16)
        variables = head.init(jax.random.key(0), values)
        losses = head.apply(variables, values, jnp.zeros((B, N), jnp.int32), method="losses")
        return variables, losses[0], head.apply(variables, values)

    variables, losses, logits = jax.eval_shape(run)
    assert losses.dtype == logits.dtype == jnp.float32
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_labels_that_do_not_count_are_survived():
    hidden, kernel, bias, labels = map(jnp.asarray, arrays())
    losses, _ = token_losses(hidden, kernel, bias, jnp.full_like(labels, -100))
    assert np.isfinite(losses).all()
