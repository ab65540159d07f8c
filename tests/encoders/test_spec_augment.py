import jax
import jax.numpy as jnp
import numpy as np

from mmjax.encoders.spec_augment import random_spans


def test_spans_are_as_many_as_asked_and_inside_each_row():
    lengths = jnp.array([40, 25, 5, 3, 0])
    draw = jax.jit(jax.vmap(lambda key: random_spans(key, lengths, 40, rate=0.5, span=4, least=1)))
    found = np.asarray(draw(jax.random.split(jax.random.key(0), 400)))
    ends = np.arange(40) >= np.asarray(lengths)[:, None]
    assert not found[:, ends].any()
    # A row of 40 gets 5 spans, one of 25 gets 3 or 4, one of 5 its least, one of 3 has no room.
    covered = found.sum(axis=2)
    assert covered[:, 0].max() <= 5 * 4
    assert covered[:, 0].min() >= 4 + 4
    assert covered[:, 1].max() <= 4 * 4
    assert (covered[:, 2] == 4).all()
    assert not covered[:, 3:].any()
    # Every run of hidden frames is at least a span long, and all frames are hidden at times.
    edges = np.diff(np.pad(found[:, 0].astype(int), ((0, 0), (1, 1))), axis=1)
    for row in edges:
        assert (np.flatnonzero(row == -1) - np.flatnonzero(row == 1) >= 4).all()
    assert found[:, 0].any(axis=0).all()
    # 25 * 0.5 / 4 = 3.125 spans: one in eight draws has four, rounded for all rows together.
    assert not draw(jax.random.split(jax.random.key(1), 3))[:, 4].any()


def test_the_number_of_spans_is_right_on_average():
    draw = jax.vmap(lambda key: random_spans(key, jnp.array([40]), 40, rate=0.33, span=1, least=0))
    found = np.asarray(jax.jit(draw)(jax.random.split(jax.random.key(0), 2000)))
    counts = found.sum(axis=(1, 2))
    assert set(counts.tolist()) == {13, 14}
    assert abs(counts.mean() - 0.33 * 40) < 0.05
