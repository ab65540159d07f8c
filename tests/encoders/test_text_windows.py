"""Long texts in windows: which tokens a window has, and which window a token is taken from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.encoders.text_transformer import TextTransformer
from mmjax.encoders.text_windows import TextWindows, most_context, windows

INNER = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 8, "dropout": 0.0}
IDS = np.random.default_rng(0).integers(1, 20, (3, 14)).astype(np.int32)
MASK = np.arange(14) < np.array([[14], [5], [0]])


@pytest.mark.parametrize(
    ("count", "length", "stride"), [(14, 6, 2), (15, 6, 3), (7, 6, 4), (30, 9, 7)]
)
def test_every_token_is_taken_where_it_has_most_context(count, length, stride):
    places = windows(count, length, stride)
    window, place = most_context(places, count)
    np.testing.assert_array_equal(places[window, place], np.arange(count))
    assert places.max() >= count - 1
    assert places[:-1].max() < count - 1
    for token in range(1, count):
        of = {}
        for w, own in enumerate(places):
            if token in own[1:]:
                last = min(own[-1], count - 1)
                of[w] = min(token - w * stride, last - token)
        assert of[window[token]] == max(of.values())


@pytest.mark.slow
def test_values_are_those_of_the_windows_encoded_alone():
    module = TextWindows(text=Spec("text_transformer", **INNER), length=6, stride=3, vocab_size=20)
    variables = reference.random_variables(module, IDS, MASK, train=False)
    found = module.apply(variables, IDS, MASK, train=False)
    inner = TextTransformer(**INNER, vocab_size=20, max_length=6)
    own = {"params": variables["params"]["text_encoder"]}
    starts = (0, 3, 6, 9)
    parts = []
    for start in starts:
        ids = np.concatenate([IDS[:, :1], IDS[:, start + 1 : start + 6]], axis=1)
        mask = np.concatenate([MASK[:, :1], MASK[:, start + 1 : start + 6]], axis=1)
        ids = np.pad(ids, ((0, 0), (0, 6 - ids.shape[1])))
        mask = np.pad(mask, ((0, 0), (0, 6 - mask.shape[1])))
        parts.append(inner.apply(own, jnp.asarray(ids), mask, train=False))
    window, place = most_context(windows(14, 6, 3), 14)
    for token in range(14):
        expected = parts[window[token]].values[:, place[token]]
        rows = MASK[:, token]
        np.testing.assert_allclose(found.values[rows, token], expected[rows], atol=1e-5)
    pooled = [np.asarray(part.pooled) for part in parts]
    np.testing.assert_allclose(found.pooled[0], np.mean([p[0] for p in pooled], axis=0), atol=1e-5)
    np.testing.assert_allclose(found.pooled[1], (pooled[0][1] + pooled[1][1]) / 2, atol=1e-5)
    assert not np.asarray(found.pooled[2]).any()
    np.testing.assert_array_equal(found.mask, MASK)
    short = module.apply(variables, IDS[:, :6], MASK[:, :6], train=False)
    alone = inner.apply(own, IDS[:, :6], MASK[:, :6], train=False)
    np.testing.assert_allclose(short.values, alone.values, atol=1e-6)


def test_windows_must_overlap():
    with pytest.raises(ConfigError, match="stride of 5"):
        TextWindows(length=6, stride=5, vocab_size=20).init(
            jax.random.key(0), IDS, MASK, train=False
        )
