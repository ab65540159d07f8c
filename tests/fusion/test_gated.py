import functools

import jax
import numpy as np
import pytest
import reference
from agreement import agree
from methods import WIDTH, double
from methods.gated import gated
from tiny_tokens import make_tokens

from mmjax import fusion
from mmjax.core.errors import ConfigError


def test_softmax_shares_among_the_present():
    reference_of = functools.partial(gated, gate="softmax")
    agree("gated", reference_of, {"gate": "softmax"})
    tokens = make_tokens()
    module = fusion.build("gated", width=WIDTH, gate="softmax")
    params = reference.random_variables(module, tokens, train=False)
    fused = jax.jit(lambda: module.apply(params, tokens, train=False))()
    np.testing.assert_allclose(fused.modality_weights.sum(axis=1), [1, 1, 1, 0], atol=1e-6)


def test_tied_gates_of_two():
    tokens = {name: make_tokens()[name] for name in ("text", "image")}
    module = fusion.build("gated", width=WIDTH, gate="tied")
    params = reference.random_variables(module, tokens, train=False)["params"]
    assert "image_gate" in params
    assert "text_gate" not in params

    def loss(params):
        fused = module.apply({"params": params}, tokens, train=False)
        return fused.pooled.sum(), fused

    grads, fused = jax.jit(jax.grad(loss, has_aux=True))(params)
    p, doubles = reference.double(params), double(tokens)
    expected = gated(p, doubles, "tied")
    np.testing.assert_allclose(fused.pooled, expected.pooled, atol=1e-5)
    np.testing.assert_allclose(fused.modality_weights, expected.modality_weights, atol=1e-6)
    np.testing.assert_allclose(
        fused.modality_weights.sum(axis=1), [1, *fused.modality_weights[1:, 1]]
    )
    direction = reference.double(reference.random_like(params, seed=3))
    ends = [
        gated(jax.tree.map(lambda x, d, s=sign: x + s * d, p, direction), doubles, "tied")
        for sign in (1e-5, -1e-5)
    ]
    slope = (ends[0].pooled.sum() - ends[1].pooled.sum()) / 2e-5
    found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)))
    np.testing.assert_allclose(found, slope, rtol=1e-4)


def test_tied_gates_of_three_are_refused():
    module = fusion.build("gated", gate="tied")
    with pytest.raises(ConfigError, match=r"gate='tied' with .*audio, image, text.*'softmax'"):
        reference.shapes(module, make_tokens(), train=False)
