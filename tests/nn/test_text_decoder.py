"""The causal decoder: who sees whom, what padding changes, and torch's own decoder layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.core.types import Tokens
from mmjax.nn.text_decoder import CausalDecoder

RNG = np.random.default_rng(0)
B, N, M, V, D = 3, 6, 4, 11, 8
IDS = RNG.integers(1, V, (B, N)).astype(np.int32)
MASK = np.arange(N) < np.array([[6], [4], [2]])
LEGEND = Tokens(
    jnp.asarray(RNG.standard_normal((B, M, 5)), jnp.float32),
    jnp.arange(M) < jnp.array([[4], [2], [0]]),
    jnp.zeros((B, 5)),
)
"""Tokens of something else; the last row has none."""
SIZES = {"vocab_size": V, "max_length": N, "width": D, "depth": 2, "heads": 2, "mlp_dim": 12}


def make(**settings):
    """The logits as a function of ids, mask and further arguments, with random parameters."""
    module = CausalDecoder(**SIZES, **settings)

    def variables(*args, **given):
        return reference.random_variables(module, *args, **given, train=False)

    run = jax.jit(functools.partial(module.apply, train=False))
    return lambda params, *args, **given: run(params, *args, **given).logits, variables


@pytest.fixture(scope="module")
def looking():
    logits, variables = make(cross_attention=True)
    params = variables(IDS, MASK, context=LEGEND)
    return functools.partial(logits, params)


@pytest.fixture(scope="module")
def behind():
    logits, variables = make()
    params = variables(IDS, MASK, prefix=LEGEND, given=jnp.asarray(MASK))
    return functools.partial(logits, params)


def other_word(place):
    ids = IDS.copy()
    ids[:, place] = (ids[:, place] + 1) % V
    return ids


@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_word_changes_nothing_before_it(looking, behind, place):
    """Bit for bit; and it changes what follows, itself first."""
    for run, given in ((looking, {"context": LEGEND}), (behind, {"prefix": LEGEND})):
        given = {"given": np.zeros_like(MASK), **given} if run is behind else given
        ours, theirs = (run(ids, MASK | True, **given) for ids in (IDS, other_word(place)))
        np.testing.assert_array_equal(ours[:, :place], theirs[:, :place])
        assert np.abs(ours - theirs)[:, place:].max(axis=-1).min() > 1e-6


def test_given_words_see_each_other_and_the_others_do_not_look_ahead(behind):
    given = np.broadcast_to(np.arange(N) < 3, MASK.shape)
    run = functools.partial(behind, mask=MASK | True, prefix=LEGEND, given=given)
    ours, inside, outside = (run(ids) for ids in (IDS, other_word(2), other_word(4)))
    assert np.abs(ours - inside).max(axis=-1).min() > 1e-6
    np.testing.assert_array_equal(ours[:, :4], outside[:, :4])


def test_padding_of_words_context_and_prefix_changes_nothing(looking, behind):
    ids = np.where(MASK, IDS, 7)
    legend = LEGEND.replace(values=jnp.where(LEGEND.mask[..., None], LEGEND.values, 1e3))
    none = np.zeros_like(MASK)
    pairs = (
        [looking(x, MASK, context=y) for x, y in ((IDS, LEGEND), (ids, legend))],
        [behind(x, MASK, prefix=y, given=none) for x, y in ((IDS, LEGEND), (ids, legend))],
    )
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours[MASK], theirs[MASK])


def test_shorter_batches_give_the_same(looking):
    whole = looking(IDS, MASK, context=LEGEND)
    cut = looking(IDS[:, :4], MASK[:, :4], context=LEGEND)
    np.testing.assert_allclose(cut[MASK[:, :4]], whole[:, :4][MASK[:, :4]], atol=1e-5)


def test_a_start_guesses_the_first_word():
    """One place more, which sees no word; and vectors in place of words have it too."""
    logits, variables = make(cross_attention=True, learned_start=True)
    params = variables(IDS, MASK, context=LEGEND)
    run = functools.partial(logits, params, mask=MASK | True, context=LEGEND)
    ours, theirs = run(IDS), run(other_word(0))
    assert ours.shape == (B, N + 1, V)
    np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
    assert np.abs(ours - theirs)[:, 1:].max(axis=-1).min() > 1e-6


def test_vectors_of_another_width_with_a_table_of_their_own():
    module = CausalDecoder(**SIZES, learned_start=True)
    vectors = jnp.asarray(RNG.standard_normal((B, N, 3)), jnp.float32)
    table = jnp.asarray(RNG.standard_normal((V, D)), jnp.float32)
    found = reference.random_variables(module, vectors, MASK, table=table, train=False)
    assert set(found["params"]) == {"words", "start", "transformer"}
    assert set(found["params"]["words"]) == {"kernel", "bias"}
    run = jax.jit(functools.partial(module.apply, train=False))
    decoded = run(found, vectors, MASK, table=table)
    expected = np.float64(decoded.tokens.values) @ np.float64(table).T
    np.testing.assert_allclose(decoded.logits, expected, atol=1e-4)


def test_losses_are_those_of_the_logits():
    module = CausalDecoder(**SIZES, cross_attention=True, tied=False)
    params = reference.random_variables(module, IDS, MASK, context=LEGEND, train=False)
    labels = np.roll(IDS, -1, axis=1)

    @jax.jit
    def both(params):
        given = {"context": LEGEND, "train": False}
        decoded = module.apply(params, IDS, MASK, **given)
        found = module.apply(
            params, IDS, jnp.asarray(labels), MASK, **given, label_smoothing=0.2, method="losses"
        )
        return decoded.logits, *found

    logits, losses, right = both(params)
    shares = reference.softmax(np.float64(logits))
    targets = 0.8 * np.eye(V)[labels] + 0.2 / V
    np.testing.assert_allclose(losses, -(targets * np.log(shares)).sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(right, np.argmax(logits, axis=-1) == labels)


@pytest.mark.parametrize(
    ("settings", "args", "message"),
    [
        ({"cross_attention": True}, (IDS, {}), "a context is missing"),
        ({}, (IDS, {"context": LEGEND}), "a context is given"),
        ({}, (np.zeros((B, 9), np.int32), {}), "9 words are more than max_length=6"),
        ({}, (np.zeros((B, N, D), np.float32), {}), "tied to a table of width None"),
    ],
)
def test_what_does_not_fit_is_refused(settings, args, message):
    module = CausalDecoder(**SIZES, **settings)
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(
            lambda: module.init(jax.random.key(0), jnp.asarray(args[0]), **args[1], train=False)
        )
