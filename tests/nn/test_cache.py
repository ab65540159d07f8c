"""Decoding a step at a time gives the logits of all words at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.types import Tokens
from mmjax.nn.cache import take_rows
from mmjax.nn.text_decoder import CausalDecoder

RNG = np.random.default_rng(0)
B, N, M, V, D = 3, 5, 4, 11, 8
FIRST = 3
IDS = RNG.integers(1, V, (B, N)).astype(np.int32)
LEGEND = Tokens(
    jnp.asarray(RNG.standard_normal((B, M, 5)), jnp.float32),
    jnp.arange(M) < jnp.array([[4], [2], [0]]),
    jnp.zeros((B, 5)),
)
"""Tokens of something else; the last row has none."""


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"cross_attention": True, "scan": True}, "context"),
        ({"learned_start": True}, "prefix"),
    ],
)
def test_steps_give_the_logits_of_all_words_at_once(settings, name):
    """Of words behind padding at the left, whose number differs; rows may be taken over."""
    sizes = {"vocab_size": V, "max_length": N, "width": D, "depth": 2, "heads": 2, "mlp_dim": 12}
    module = CausalDecoder(**sizes, **settings)
    variables = reference.random_variables(module, IDS, **{name: LEGEND}, train=False)
    assert set(variables) == {"params"}
    valid = np.arange(N) >= np.array([[0], [1], [2]])
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0)
    swapped = np.array([2, 0, 1])

    @jax.jit
    def both(variables):
        given = {name: LEGEND, "position_ids": positions}
        whole = module.apply(variables, IDS, valid, **given, train=False).logits
        kept, found = {}, []
        for start, stop in ((0, FIRST), *((at, at + 1) for at in range(FIRST, N))):
            decoded, kept = module.apply(
                {**variables, **kept},
                IDS[:, start:stop],
                LEGEND,
                valid,
                positions[:, start:stop],
                train=False,
                method="decode",
                mutable=["cache"],
            )
            found.append(decoded.logits)
            again = take_rows(kept, swapped)
            kept = take_rows(again, np.argsort(swapped))
        return whole, jnp.concatenate(found, axis=1), again

    whole, steps, cache = both(variables)
    np.testing.assert_allclose(steps[:, -N:][valid], whole[:, -N:][valid], atol=1e-5)
    np.testing.assert_allclose(steps[:, -1], whole[:, -1], atol=1e-5)
    assert {leaf.shape[-4] for leaf in jax.tree.leaves(cache) if leaf.ndim >= 4} == {B}
