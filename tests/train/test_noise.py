"""Noise on the gradients of encoders: whose, how much, and anew at each update."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.train.noise import gradient_noise


def test_each_array_of_an_encoder_gains_noise_of_its_own_deviation():
    rng = np.random.default_rng(0)
    grads = {
        "encoders_text": {"a": rng.normal(1, 3, (200, 50)), "b": rng.normal(0, 0.1, 5000)},
        "task": {"kernel": rng.normal(0, 1, (4, 4))},
    }
    grads = jax.tree.map(jnp.float32, grads)
    rule = gradient_noise(0.5, seed=3)
    first, state = rule.update(grads, rule.init(grads))
    second, state = rule.update(grads, state)
    again, _ = gradient_noise(0.5, seed=3).update(grads, rule.init(grads))
    np.testing.assert_array_equal(first["task"]["kernel"], grads["task"]["kernel"])
    for name, own in grads["encoders_text"].items():
        noise = [np.float64(one["encoders_text"][name] - own).ravel() for one in (first, second)]
        for one in noise:
            np.testing.assert_allclose(one.std(), 0.5 * np.std(own), rtol=0.05)
            assert abs(one.mean()) < 0.1 * one.std()
        assert abs(np.corrcoef(*noise)[0, 1]) < 0.06
        np.testing.assert_array_equal(again["encoders_text"][name], first["encoders_text"][name])
    assert int(state.count) == 2
