import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core import rng

KEY = jax.random.key(0, impl=rng.IMPLEMENTATION)


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_a_key_is_a_function_of_seed_step_and_name():
    seen = {
        bits(key)
        for seed in (0, 1)
        for step in (0, 1, 2**31 - 1)
        for key in rng.streams(jax.random.key(seed, impl=rng.IMPLEMENTATION), step).values()
    }
    assert len(seen) == 2 * 3 * len(rng.STREAMS)
    again = rng.streams(KEY, jnp.int32(1))
    assert {n: bits(k) for n, k in again.items()} == {
        n: bits(k) for n, k in rng.streams(KEY, 1).items()
    }


def test_names_are_hashed_the_same_in_every_process():
    """Python's own hash of a string differs from process to process."""
    code = (
        "import jax; from mmjax.core import rng;"
        f"key = jax.random.key(0, impl={rng.IMPLEMENTATION!r});"
        "print(jax.random.key_data(rng.stream(key, 'dropout')).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(list(bits(rng.stream(KEY, "dropout"))))


def test_streams_are_independent():
    keys = rng.streams(KEY, 3, ("dropout", "mask"))
    a, b = (np.asarray(jax.random.normal(key, (20_000,))) for key in keys.values())
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(20_000)
    assert abs(a.mean()) < 4 / np.sqrt(20_000)
    assert abs(a.std() - 1) < 4 / np.sqrt(40_000)
