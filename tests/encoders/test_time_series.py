import functools

import jax
import numpy as np
import reference

from mmjax.encoders.time_series import TimeSeries

RNG = np.random.default_rng(0)
TIMES = RNG.uniform(0, 500, (3, 6)).astype(np.float32)
VALUES = RNG.standard_normal((3, 6)).astype(np.float32)
CHANNELS = RNG.integers(0, 4, (3, 6)).astype(np.int32)
MASK = np.arange(6) < np.array([[6], [3], [0]])
MODULE = TimeSeries(channel_count=4, time_unit=10.0, width=8, depth=1, heads=2, mlp_dim=16)


def test_a_token_is_its_channel_value_and_time():
    variables = reference.random_variables(MODULE, TIMES, VALUES, CHANNELS, MASK, train=False)
    run = jax.jit(functools.partial(MODULE.apply, train=False))
    tokens = run(variables, TIMES, VALUES, CHANNELS, MASK)
    p = reference.double(variables["params"])
    angles = np.float64(TIMES)[..., None] / 10 / 10000 ** (2 * np.arange(4) / 8)
    waves = np.zeros((3, 6, 8))
    waves[..., 0::2], waves[..., 1::2] = np.sin(angles), np.cos(angles)
    x = reference.dense(p["time"], waves) + p["channel"]["embedding"][CHANNELS]
    hidden = np.tanh(reference.dense(p["value_hidden"], np.float64(VALUES)[..., None]))
    x = x + reference.dense(p["value"], hidden)
    x = reference.transformer(p["transformer"], x, MASK, norm="pre", eps=1e-6)
    np.testing.assert_allclose(np.asarray(tokens.values)[MASK], x[MASK], atol=5e-5)
    np.testing.assert_allclose(tokens.pooled, reference.masked_mean(x, MASK), atol=5e-5)

    order = RNG.permutation(6)
    other = run(variables, *(field[:, order] for field in (TIMES, VALUES, CHANNELS, MASK)))
    np.testing.assert_allclose(other.pooled, tokens.pooled, atol=5e-6)
