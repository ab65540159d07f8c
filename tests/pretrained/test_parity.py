"""Every golden case: the folder loads whole, and the module computes what the torch class did."""

from __future__ import annotations

from typing import Any

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import errors, relative_error

from mmjax.core.types import Tokens
from mmjax.pretrained import find

TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 5e-5
"""Gradients sum over more terms than outputs, in float32 and another order than torch's."""
LOOSER: dict[str, float] = {}
"""Cases of deep convolution stacks, with the reason."""


@pytest.mark.parametrize("name", goldens.names())
def test_computes_what_the_torch_class_does(name, golden_encoder):
    golden, encoder = golden_encoder(name)
    assert not encoder.report.left_out
    found = errors(golden, encoder)
    assert found.keys() == golden.outputs.keys() != set()
    assert max(found.values()) <= LOOSER.get(name, TOLERANCE), found


@pytest.mark.parametrize("name", [n for n in goldens.names() if goldens.load(n).gradients])
def test_gradients_are_those_of_the_torch_class(name, golden_encoder):
    golden, encoder = golden_encoder(name)
    cotangent = jnp.asarray(goldens.cotangent(golden.outputs["values"].shape))

    def loss(params: Any) -> jax.Array:
        variables = {**encoder.variables, "params": params}
        found = encoder.module.apply(variables, **golden.inputs, train=False)
        values = found.values if isinstance(found, Tokens) else found.tokens.values
        return jnp.sum(values * cotangent)

    gradients = {"params": jax.jit(jax.grad(loss))(encoder.params)}
    flat = {
        "/".join(key.key for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
    }
    table = {leaf.theirs: leaf for leaf in find(encoder.model_type).table(encoder.config)}
    found = {
        key: relative_error(table[key].save(np.asarray(flat[table[key].ours])), expected)
        for key, expected in golden.gradients.items()
    }
    assert max(found.values()) <= GRADIENT_TOLERANCE, found
