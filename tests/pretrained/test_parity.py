"""Every golden case: the folder loads whole, and the module computes what the torch class did."""

from __future__ import annotations

import functools
from typing import Any

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.core.types import Decoded, Embeddings, Tokens
from mmjax.pretrained import find

TOLERANCE = 1e-5
LOOSER: dict[str, float] = {}
"""Cases of deep convolution stacks, with the reason."""


def outputs(found: Any) -> dict[str, Any]:
    """What a module returned, by the names that golden files use."""
    if isinstance(found, Tokens):
        return {"values": found.values, "pooled": found.pooled, "mask": found.mask}
    if isinstance(found, Embeddings):
        return {**found.values, "logit_scale": found.logit_scale, "logit_bias": found.logit_bias}
    assert isinstance(found, Decoded)
    encoder = {} if found.encoder is None else {"encoder": found.encoder.values}
    return {"logits": found.logits, "values": found.tokens.values, **encoder}


def relative_error(ours: Any, theirs: np.ndarray, mask: np.ndarray | None) -> float:
    """The largest difference over the largest value, where the mask says that it counts."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    if mask is not None and mask.shape == theirs.shape[:2]:
        ours, theirs = ours[mask], theirs[mask]
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("name", goldens.names())
def test_computes_what_the_torch_class_does(name, golden_encoder):
    golden, encoder = golden_encoder(name)
    assert not encoder.report.left_out
    apply = jax.jit(functools.partial(encoder.module.apply, train=False))
    found = outputs(apply(encoder.variables, **golden.inputs))
    mask = golden.inputs.get("attention_mask")
    for key, expected in golden.outputs.items():
        counts = (
            np.asarray(mask, bool) if mask is not None and key in ("values", "logits") else None
        )
        if "decoder_input_ids" in golden.inputs and key in ("values", "logits"):
            counts = None
        error = relative_error(found[key], expected, counts)
        assert error <= LOOSER.get(name, TOLERANCE), f"{key}: {error:.1e}"


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
    for key, expected in golden.gradients.items():
        ours = table[key].save(np.asarray(flat[table[key].ours]))
        error = relative_error(ours, expected, None)
        assert error <= 10 * TOLERANCE, f"{key}: {error:.1e}"
