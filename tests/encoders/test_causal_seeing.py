"""Language models that see more than words: a prefix, and gated blocks that look at a context."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.core.types import Tokens
from mmjax.encoders.causal_lm import CausalLM

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 13, (3, 6)).astype(np.int32)
MODULE = CausalLM(
    vocab_size=13,
    max_length=10,
    width=8,
    depth=2,
    heads=2,
    mlp_dim=16,
    dropout=0.0,
    attention_dropout=0.0,
    positions="rotary",
)


@functools.cache
def _model():
    """Variables, a jitted call, and its logits of `IDS`."""
    variables = reference.random_variables(MODULE, IDS, train=False)
    run = jax.jit(functools.partial(MODULE.apply, train=False))
    return variables, run, np.asarray(run(variables, IDS).logits)


@functools.cache
def _prefix():
    """The vectors of the first two words: in the first slots, in the last ones, and nowhere."""
    variables = _model()[0]
    values = np.full((3, 3, 8), 7.0, np.float32)
    mask = np.zeros((3, 3), bool)
    for row, start in ((0, 0), (1, 1)):
        at = slice(start, start + 2)
        values[row, at] = np.asarray(variables["params"]["words"]["embedding"])[IDS[row, :2]]
        mask[row, at] = True
    return Tokens(jnp.asarray(values), jnp.asarray(mask), jnp.zeros((3, 8)))


def test_a_prefix_of_words_is_those_words():
    """Wherever its padding is; and a row without one is a row of words alone."""
    variables, run, whole = _model()
    found = run(variables, IDS[:, 2:], prefix=_prefix()).logits
    np.testing.assert_allclose(found[:2], whole[:2, 2:], atol=1e-5)
    alone = run(variables, np.roll(IDS, -2, axis=1)).logits
    np.testing.assert_allclose(found[2], alone[2, :4], atol=1e-5)


def test_a_prefix_with_a_cache():
    variables, run, _ = _model()
    whole = run(variables, IDS[:, 2:], prefix=_prefix()).logits

    @jax.jit
    def step(variables, ids, first):
        places = first + jnp.arange(ids.shape[1])[None] + jnp.zeros((3, 1), jnp.int32)
        slots, more = jnp.ones((3, 4), bool), {"prefix": _prefix(), "mutable": ["cache"]}
        return MODULE.apply(
            variables, ids, None, slots, places, train=False, method="decode", **more
        )

    found, kept = step(variables, IDS[:, 2:4], 0)
    np.testing.assert_allclose(found.logits, whole[:, :2], atol=1e-5)
    for place in (2, 3):
        found, kept = step({**variables, **kept}, IDS[:, place + 2 : place + 3], place)
        np.testing.assert_allclose(found.logits[:, 0], whole[:, place], atol=1e-5)


def test_gated_blocks_begin_as_the_language_model():
    variables, _, plain = _model()
    seeing = MODULE.clone(gated_every=2)
    values = jnp.asarray(RNG.normal(size=(3, 2, 5)), jnp.float32)
    context = Tokens(values, jnp.asarray([[1, 1], [1, 0], [0, 0]], bool), jnp.zeros((3, 5)))
    made = reference.random_variables(seeing, IDS, context=context, train=False)["params"]
    assert set(made) - set(variables["params"]) == {"gated_0"}

    def gates(value):
        own = {n: jnp.full_like(x, value) if "gate" in n else x for n, x in made["gated_0"].items()}
        return {"params": {**variables["params"], "gated_0": own}}

    see = jax.jit(functools.partial(seeing.apply, train=False))
    np.testing.assert_array_equal(see(gates(0.0), IDS, context=context).logits, plain)
    moved = np.abs(see(gates(1.0), IDS, context=context).logits - plain).max(axis=(1, 2))
    assert moved.min() > 1e-3
    with pytest.raises(ConfigError, match="missing"):
        seeing.init(jax.random.key(0), IDS, train=False)
    with pytest.raises(ConfigError, match="width 5"):
        MODULE.init(jax.random.key(0), IDS, prefix=context, train=False)
