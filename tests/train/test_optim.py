import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import (
    decay_mask,
    global_norm,
    learning_rate_factors,
    make_optimizer,
    make_schedule,
)

RNG = np.random.default_rng(0)
PARAMS = {
    "encoders_text": {"words": {"embedding": RNG.standard_normal((3, 2)).astype(np.float32)}},
    "encoders_image": {"class_token": RNG.standard_normal(2).astype(np.float32)},
    "task": {
        "head": {
            "kernel": RNG.standard_normal((2, 2)).astype(np.float32),
            "bias": RNG.standard_normal(2).astype(np.float32),
        }
    },
}
GRADIENTS = [jax.tree.map(lambda p: RNG.standard_normal(p.shape).astype(np.float32), PARAMS)] * 2
GRADIENTS.append(jax.tree.map(lambda p: p * 0.1, GRADIENTS[0]))


def flat(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): leaf for path, leaf in found}


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 4])
def test_schedules(schedule, warmup):
    config = OptimizerConfig(learning_rate=0.2, schedule=schedule, end_fraction=0.1)
    found = jax.jit(jax.vmap(make_schedule(config, 20, warmup)))(jnp.arange(26))
    expected = []
    for step in range(26):
        done = min(max(step - warmup, 0) / (20 - warmup), 1.0)
        share = {
            "constant": 1.0,
            "linear": 1.0 - 0.9 * done,
            "cosine": 0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2,
        }[schedule]
        expected.append(0.2 * (step / warmup if step < warmup else share))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_biases_scales_and_free_vectors_do_not_decay_by_default():
    params = {
        "encoders_text": {
            "words": {"embedding": 0},
            "embeddings_norm": {"scale": 0, "bias": 0},
            "transformer": {"stack": {"layers": {"mlp": {"up": {"kernel": 0, "bias": 0}}}}},
        },
        "encoders_image": {"class_token": 0, "positions": 0},
        "fusion": {"logits": 0, "weights": 0, "text_pooled": {"kernel": 0, "bias": 0}},
    }
    mask = flat(decay_mask(params, OptimizerConfig().no_decay))
    assert {path for path, decays in mask.items() if decays} == {
        "encoders_text/words/embedding",
        "encoders_text/transformer/stack/layers/mlp/up/kernel",
        "fusion/text_pooled/kernel",
    }


def test_the_first_pattern_that_finds_a_path_gives_its_factor():
    multipliers = {r"^/encoders_text/": 0.0, r"^/encoders_": 0.1, r"/head/bias$": 2.0}
    assert flat(learning_rate_factors(PARAMS, multipliers)) == {
        "encoders_text/words/embedding": 0.0,
        "encoders_image/class_token": 0.1,
        "task/head/kernel": 1.0,
        "task/head/bias": 2.0,
    }


def updated(config):
    """The parameters after each of three updates, from one compiled function."""
    optimizer = make_optimizer(config, make_schedule(config, 10, 0))

    @jax.jit
    def run(params, gradients):
        state, found = optimizer.init(params), []
        for one in gradients:
            updates, state = optimizer.update(one, state, params)
            params = jax.tree.map(jnp.add, params, updates)
            found.append(params)
        return found

    return run(PARAMS, GRADIENTS)


def expected(config):
    """The same from the papers' formulas in float64, leaf by leaf; a cosine over ten steps."""
    params, mask = flat(PARAMS), flat(decay_mask(PARAMS, config.no_decay))
    params = {path: np.float64(leaf) for path, leaf in params.items()}
    factors = flat(learning_rate_factors(PARAMS, config.multipliers))
    first = {path: np.zeros_like(leaf) for path, leaf in params.items()}
    second, found = dict(first), []
    b1, b2 = config.b1, config.b2
    for index, gradients in enumerate(GRADIENTS):
        gradients = {path: np.float64(leaf) for path, leaf in flat(gradients).items()}
        if config.max_grad_norm is not None:
            trained = [leaf for path, leaf in gradients.items() if factors[path]]
            norm = math.sqrt(sum((leaf**2).sum() for leaf in trained))
            share = min(1.0, config.max_grad_norm / norm)
            gradients = {path: leaf * share for path, leaf in gradients.items()}
        rate = config.learning_rate * (1 + math.cos(math.pi * index / 10)) / 2
        for path, g in gradients.items():
            m, v, t = first[path], second[path], index + 1
            if config.name == "adamw":
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
                update = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + config.eps)
            elif config.name == "lion":
                update, m = np.sign(b1 * m + (1 - b1) * g), b2 * m + (1 - b2) * g
            else:
                update = m = config.momentum * m + g
            first[path], second[path] = m, v
            own = (
                rate for pattern, rate in config.decays.items() if re.search(pattern, f"/{path}")
            )
            decay = next(own, config.weight_decay) * mask[path]
            decayed = update + decay * params[path]
            moved = params[path] - rate * factors[path] * decayed
            pull = rate * factors[path] * config.l1 * mask[path]
            params[path] = np.sign(moved) * np.maximum(np.abs(moved) - pull, 0.0)
        found.append(dict(params))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"max_grad_norm": 1.0, "weight_decay": 0.1},
        {"max_grad_norm": None, "weight_decay": 0.0, "b1": 0.8, "eps": 1e-3},
        {"name": "lion", "b2": 0.99, "weight_decay": 0.1},
        {"name": "sgd", "max_grad_norm": 0.5, "weight_decay": 0.1},
        {"weight_decay": 0.5, "multipliers": {"^/encoders_text": 0.0, "head": 0.1}},
        {"weight_decay": 0.1, "decays": {"^/encoders_text": 0.7, "^/encoders_": 0.0}},
        {"name": "sgd", "l1": 2.0, "multipliers": {"^/encoders_text": 0.0, "head": 0.1}},
    ],
    ids=["adamw", "adam", "lion", "sgd", "multipliers", "decays", "l1"],
)
def test_updates_agree_with_the_formulas(options):
    config = OptimizerConfig(learning_rate=0.05, **options)
    for ours, other in zip(updated(config), expected(config), strict=True):
        for path, leaf in flat(ours).items():
            np.testing.assert_allclose(leaf, other[path], atol=2e-6, err_msg=path)


def test_weights_that_are_not_needed_end_at_0():
    config = OptimizerConfig(learning_rate=0.05, l1=50.0)
    last = flat(updated(config)[-1])
    for path, leaf in last.items():
        pulled = flat(decay_mask(PARAMS, config.no_decay))[path]
        assert (np.asarray(leaf) == 0).all() == pulled, path


def test_a_factor_of_zero_freezes_bit_for_bit():
    config = OptimizerConfig(multipliers={"^/encoders_": 0.0}, weight_decay=0.5)
    last = updated(config)[-1]
    for name in ("encoders_text", "encoders_image"):
        jax.tree.map(np.testing.assert_array_equal, last[name], PARAMS[name])
    assert (last["task"]["head"]["kernel"] != PARAMS["task"]["head"]["kernel"]).all()


def test_what_is_frozen_has_no_moments():
    config = OptimizerConfig(multipliers={"^/encoders_": 0.0})
    state = make_optimizer(config, make_schedule(config, 10, 0)).init(PARAMS)
    sizes = sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert sizes == 2 * sum(leaf.size for leaf in jax.tree.leaves(PARAMS["task"]))


def test_global_norm_of_bfloat16_leaves_is_in_float32():
    tree = {"a": jnp.full(4096, 0.01, jnp.bfloat16), "b": jnp.float32(3.0)}
    one = float(jnp.bfloat16(0.01))
    norm = jax.jit(global_norm)(tree)
    assert norm.dtype == jnp.float32
    assert float(norm) == pytest.approx(math.sqrt(4096 * one**2 + 9.0), rel=1e-6)
