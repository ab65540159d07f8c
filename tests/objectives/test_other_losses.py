"""Losses of pairs and labels against their formulas, apart from the modules around them."""

import jax
import jax.numpy as jnp
import losses
import numpy as np
import pytest
from cases import distillation, triplet, vicreg
from scipy import special

from mmjax import objectives
from mmjax.objectives import (
    distillation_loss,
    momentum_contrastive_loss,
    supervised_contrastive_loss,
    triplet_loss,
    vicreg_loss,
)

RNG = np.random.default_rng(0)
A, B = (losses.unit(RNG.standard_normal((8, 5))).astype(np.float32) for _ in range(2))
MASK = np.array([1, 1, 0, 1, 1, 1, 1, 0], bool)
LABELS = np.array([0, 1, 0, 2, 1, 0, 0, 3], np.int32)


def supervised(a, mask):
    """L_out of Khosla et al. 2020, as their code computes it, with its division by hand."""
    z, labels = np.float64(a)[mask], LABELS[mask]
    logits = z @ z.T / 0.3
    logits[np.eye(len(z), dtype=bool)] = -np.inf
    log_p = logits - special.logsumexp(logits, axis=1, keepdims=True)
    same = (labels[:, None] == labels) & ~np.eye(len(z), dtype=bool)
    anchors = same.any(axis=1)
    sums = np.where(same, log_p, 0).sum(axis=1)[anchors]
    return -(sums / same.sum(axis=1)[anchors]).mean()


CASES = {
    "supervised": (
        lambda a, mask, **o: supervised_contrastive_loss(a, LABELS, 1 / 0.3, mask=mask, **o),
        supervised,
        (A,),
    ),
    **{
        mining: (
            lambda a, b, mask, mining=mining, **o: triplet_loss(
                a, b, margin=0.4, mining=mining, mask=mask, **o
            ),
            lambda a, b, mask, mining=mining: triplet.triplet(a[mask], b[mask], 0.4, mining),
            (A, B),
        )
        for mining in ("hard", "all")
    },
    "vicreg": (
        lambda a, b, mask: vicreg_loss(a, b, mask=mask),
        lambda a, b, mask: vicreg.vicreg(a[mask], b[mask], 25.0, 25.0, 1.0),
        (3 * A, 2 * B),
    ),
    "distillation": (
        lambda a, b, mask: (
            distillation_loss(
                a, jax.lax.stop_gradient(jnp.asarray(4 * B)), temperature=2.0, mask=mask
            )
            + 0 * b.sum()
        ),
        lambda a, b, mask: distillation.distillation(a[mask], np.float64(4 * B)[mask], 2.0),
        (3 * A, B),
    ),
}


CHUNKED = ("supervised", "hard", "all")


@pytest.mark.parametrize(
    ("name", "chunk"), [*((name, None) for name in CASES), *((name, 2) for name in CHUNKED)]
)
def test_loss_and_gradient_agree_with_the_formula(name, chunk):
    ours, theirs, arrays = CASES[name]
    options = {"chunk": chunk} if chunk else {}

    @jax.jit
    def run(arrays, mask):
        loss = lambda *arrays: ours(*arrays, mask, **options)  # noqa: E731
        return jax.value_and_grad(loss, argnums=tuple(range(len(arrays))))(*arrays)

    for mask in (np.ones(8, bool), MASK):
        loss, grads = run(arrays, mask)
        expected = lambda *arrays, mask=mask: theirs(*arrays, mask)  # noqa: E731
        assert float(loss) == pytest.approx(expected(*map(np.float64, arrays)), rel=5e-6)
        for grad, (way, slope) in zip(grads, losses.slopes(expected, arrays), strict=True):
            found = float((np.float64(grad) * way).sum())
            assert found == pytest.approx(slope, rel=2e-5, abs=2e-5)
        assert not np.asarray(grads[0])[~mask].any()
    loss, grads = run(arrays, np.zeros(8, bool))
    assert float(loss) == 0.0
    assert not any(np.asarray(grad).any() for grad in grads)


MEMORY = {
    "supervised": lambda a, b, chunk: supervised_contrastive_loss(
        jnp.concatenate([a, b]), jnp.arange(2 * len(a)) % 7, 5.0, chunk=chunk
    ),
    "triplet": lambda a, b, chunk: triplet_loss(a, b, mining="all", chunk=chunk),
    "momentum": lambda a, b, chunk: momentum_contrastive_loss(a, b, a, b, a, b, 5.0, chunk=chunk),
}


@pytest.mark.parametrize("name", MEMORY)
def test_the_largest_buffer_grows_with_the_chunk(name):
    """Temporary memory of the compiled gradient, whole and chunked, at two sizes of the batch."""

    def temporary(rows, chunk):
        shape = jax.ShapeDtypeStruct((rows, 8), jnp.float32)
        loss = lambda a, b: MEMORY[name](a, b, chunk)  # noqa: E731
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(shape, shape).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole, chunked = temporary(1024, None), temporary(1024, 64)
    assert whole > 8 * chunked
    # With a fixed chunk, twice the rows take twice the memory, not four times.
    assert temporary(2048, 64) < 2.5 * chunked


def test_distillation_is_a_divergence():
    """0 with agreement, scipy's relative entropy otherwise, and hidden columns are no choice."""
    assert float(distillation_loss(A, A)) == pytest.approx(0.0, abs=1e-7)
    columns = np.array([1, 0, 1, 1, 1], bool)
    p, q = (special.softmax(np.float64(x)[:, columns], axis=1) for x in (5 * B, 5 * A))
    expected = special.rel_entr(p, q).sum(axis=1).mean()
    found = distillation_loss(5 * A, 5 * B, columns=columns)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    grad = jax.grad(lambda teacher: distillation_loss(A, teacher))(B)
    assert not np.asarray(grad).any()


def test_soft_distillation_keeps_its_size():
    """With high temperatures, T^2 KL tends to half the variance of the logits' differences."""
    difference = np.float64(A - B)
    expected = 0.5 * difference.var(axis=1).mean()
    assert float(distillation_loss(A, B, temperature=100.0)) == pytest.approx(expected, rel=2e-2)


def test_vicreg_of_collapsed_vectors_costs_the_whole_variance():
    same = jnp.ones((8, 5))
    assert float(vicreg_loss(same, same)) == pytest.approx(25 * (1 - 0.01), rel=1e-6)
    one = vicreg_loss(2 * same, same, mask=np.arange(8) == 0)
    assert float(one) == pytest.approx(25.0, rel=1e-6)


def test_labels_that_no_other_row_has_give_no_loss():
    assert float(supervised_contrastive_loss(A, np.arange(8), 5.0)) == 0.0


def test_a_chunk_that_does_not_divide_the_batch_gives_way_to_a_smaller_one():
    assert float(triplet_loss(A, B, chunk=3)) == pytest.approx(float(triplet_loss(A, B)), rel=1e-6)


def test_every_loss_is_found_by_its_name():
    names = {name for name in dir(objectives) if name.endswith("_loss")}
    assert {"triplet_loss", "matching_loss", "momentum_contrastive_loss"} <= names
    assert all(callable(getattr(objectives, name)) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'tripled_loss'"):
        objectives.tripled_loss  # noqa: B018
