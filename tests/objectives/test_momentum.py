"""ALBEF's loss against its code's formula, and the queue against Python's own."""

import collections
import functools

import jax
import losses
import numpy as np
import pytest
from scene import ROWS, make_batch, make_context, make_encoded

from mmjax import objectives
from mmjax.objectives import momentum_contrastive_loss
from mmjax.objectives.queue import empty_queue, enqueue

RNG = np.random.default_rng(0)
A, B, AM, BM = (losses.unit(RNG.standard_normal((6, 5))).astype(np.float32) for _ in range(4))
QA, QB = (losses.unit(RNG.standard_normal((9, 5))).astype(np.float32) for _ in range(2))
SCALE = np.float32(8.0)


def albef(a, b, am, bm, qa, qb, scale, alpha, target_scale=None):
    """The contrastive loss of ALBEF (Li et al. 2021, equations 1 to 3 and 6) in float64.

    `target_scale` is the inverse of the temperature in the targets, which take no gradient.
    """
    target_scale = scale if target_scale is None else target_scale
    everything = {"a": np.concatenate([am, qa]), "b": np.concatenate([bm, qb])}
    onehot = np.eye(len(a), len(a) + len(qa))
    sim_m = {"a": target_scale * am @ everything["b"].T, "b": target_scale * bm @ everything["a"].T}
    targets = {
        k: alpha * np.exp(losses.log_softmax(s)) + (1 - alpha) * onehot for k, s in sim_m.items()
    }
    sim = {"a": scale * a @ everything["b"].T, "b": scale * b @ everything["a"].T}
    ways = [-(targets[k] * losses.log_softmax(sim[k])).sum(axis=1).mean() for k in "ab"]
    return sum(ways) / 2


@functools.partial(jax.jit, static_argnames="chunk")
def run(arrays, scale, alpha, mask, seen, chunk=None):
    def loss(arrays, scale):
        return momentum_contrastive_loss(
            *arrays, scale, alpha=alpha, mask=mask, queue_valid=seen, chunk=chunk
        )

    return jax.value_and_grad(loss, argnums=(0, 1))(arrays, scale)


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("chunk", [None, 2])
def test_loss_and_gradient_agree_with_albef(alpha, masked, chunk):
    mask, seen = np.ones(6, bool), np.ones(9, bool)
    if masked:
        mask[[1, 4]] = seen[[0, 7]] = False
    arrays = (A, B, AM, BM, QA, QB)
    loss, (grads, of_scale) = run(arrays, SCALE, alpha, mask, seen, chunk)

    def expected(a, b, scale):
        kept = [np.float64(x)[mask] for x in (a, b, AM, BM)]
        queues = [np.float64(x)[seen] for x in (QA, QB)]
        return albef(*kept, *queues, scale, alpha, target_scale=float(SCALE))

    assert float(loss) == pytest.approx(expected(A, B, SCALE), rel=2e-6)
    found = [*grads[:2], of_scale]
    for grad, (way, slope) in zip(found, losses.slopes(expected, (A, B, SCALE)), strict=True):
        assert float((np.float64(grad) * way).sum()) == pytest.approx(slope, abs=2e-5)
    assert not any(np.asarray(grad).any() for grad in grads[2:])


def test_without_queue_and_soft_targets_it_is_infonce():
    nothing = np.zeros((0, 5), np.float32)
    loss = jax.jit(lambda *x: momentum_contrastive_loss(*x, SCALE, alpha=0.0))
    found = loss(A, B, A, B, nothing, nothing)
    assert float(found) == pytest.approx(losses.clip(A, B, SCALE), rel=1e-6)


@pytest.mark.parametrize("chunk", [None, 3])
def test_an_entry_may_be_left_out_for_one_row_alone(chunk):
    rows, entries = np.arange(6), np.arange(10, 19)
    entries[3] = 2
    loss = jax.jit(
        lambda rows, entries: momentum_contrastive_loss(
            A, B, AM, BM, QA, QB, SCALE, rows=rows, queue_rows=entries, chunk=chunk
        )
    )(rows, entries)
    whole = albef(*map(np.float64, (A, B, AM, BM, QA, QB)), 8.0, 0.4)
    less = np.delete(np.float64(QA), 3, 0), np.delete(np.float64(QB), 3, 0)

    def of_row(qa, qb):
        """What row 2 adds to the mean: it is linear in the rows of `a` and `b`."""
        total = 0.0
        for own, averaged, others, queue in ((A, AM, BM, qb), (B, BM, AM, qa)):
            everything = np.concatenate([np.float64(others), queue])
            targets = 0.4 * np.exp(losses.log_softmax(8.0 * everything @ np.float64(averaged[2])))
            targets[2] += 0.6
            total -= targets @ losses.log_softmax(8.0 * everything @ np.float64(own[2]))
        return total / 12

    expected = whole - of_row(np.float64(QA), np.float64(QB)) + of_row(*less)
    assert float(loss) == pytest.approx(expected, rel=2e-6)


def test_the_queue_is_first_in_first_out():
    """Against `collections.deque`, in batches of which some rows are not kept, with overflow."""
    random, size = np.random.default_rng(5), 7
    queue, expected = empty_queue(size, {"text": 3}), collections.deque(maxlen=size)
    step = jax.jit(enqueue)
    for kept_share in (0.5, 0.0, 0.8, 1.0, 0.3, 0.9):
        vectors = random.standard_normal((10, 3)).astype(np.float32)
        keep, rows = random.uniform(size=10) < kept_share, random.integers(0, 99, 10)
        queue = step(queue, {"text": vectors}, keep, rows.astype(np.int32))
        expected.extend(zip(rows[keep], map(tuple, vectors[keep]), strict=True))
        count = len(expected)
        assert int(queue.filled) == np.asarray(queue.valid).sum() == count
        order = (int(queue.next) - count + np.arange(count)) % size
        assert np.asarray(queue.row)[order].tolist() == [row for row, _ in expected]
        found = np.asarray(queue.vectors["text"])[order]
        np.testing.assert_array_equal(found, np.array([v for _, v in expected]).reshape(-1, 3))


def test_the_queue_is_written_in_training_alone():
    module = objectives.build("momentum_contrastive", queue_size=16)
    batch = make_batch()
    context = make_context(batch, make_encoded(module, batch, {}))

    @jax.jit
    def run():
        """Evaluation, training, and evaluation of the same rows again."""
        variables = module.init(jax.random.key(0), context, train=False)
        _, same = module.apply(variables, context, train=False, mutable=["queue"])
        output, new = module.apply(variables, context, train=True, mutable=["queue"])
        again = module.apply({**variables, **new}, context, train=False)
        return variables, same, output, new, again

    variables, same, output, new, again = run()
    assert int(variables["queue"]["filled"]) == int(same["queue"]["filled"]) == 0
    kept = np.flatnonzero(batch.present["text"] & batch.present["image"])
    np.testing.assert_array_equal(new["queue"]["row"][: len(kept)], batch.row[kept])
    vectors = np.asarray(context.embed("image/momentum"))[kept]
    found = new["queue"]["vectors"]["image"][: len(kept)]
    np.testing.assert_allclose(found, vectors, atol=1e-6)
    # The same examples again are no negatives of themselves, but of all other rows.
    assert float(again.loss) > float(output.loss)
    assert float(again.metrics["queue_filled_sum"]) == len(kept) * (ROWS - 1)


def test_soft_targets_fade_in_and_a_queue_may_have_no_room():
    """Two steps of 7 rows with a warm-up of 10: alpha is 0, then 0.7 of it, then whole."""
    module = objectives.build(
        "momentum_contrastive", queue_size=0, alpha=0.5, alpha_warmup=10, temperature=0.5
    )
    batch = make_batch()
    context = make_context(batch, make_encoded(module, batch, {}))

    @jax.jit
    def run():
        variables = module.init(jax.random.key(0), context, train=False)
        found = []
        for _ in range(3):
            output, new = module.apply(variables, context, train=True, mutable=["queue"])
            variables = {**variables, **new}
            found.append((output.loss, new["queue"]["examples"]))
        return found

    rows = np.flatnonzero(batch.present["text"] & batch.present["image"])
    names = ("text", "image", "text/momentum", "image/momentum")
    vectors = [np.float64(context.embed(name))[rows] for name in names]
    nothing = np.zeros((0, 4))
    for (loss, seen), share, count in zip(run(), (0.0, 0.7, 1.0), (7, 10, 10), strict=True):
        expected = albef(*vectors, nothing, nothing, 2.0, 0.5 * share)
        assert float(loss) == pytest.approx(expected, rel=2e-6)
        assert int(seen) == count
