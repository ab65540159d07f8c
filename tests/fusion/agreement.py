"""A fusion against its reference: the result, and the gradient by central differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import reference
from methods import WIDTH, double
from tiny_tokens import SIZES, make_tokens

from mmjax import fusion

STEP = 1e-5


class Compiled:
    """A fusion with random parameters, compiled once with its gradients."""

    def __init__(self, name: str, options: Mapping[str, Any]):
        self.module = fusion.build(name, width=WIDTH, **options)
        self.params = reference.random_variables(self.module, make_tokens(), train=False)["params"]
        rng = np.random.default_rng(1)
        self.of_pooled = rng.standard_normal((1, WIDTH)).astype(np.float32)
        self.of_values = {
            name: rng.standard_normal((1, length, WIDTH)).astype(np.float32)
            for name, (length, _) in SIZES.items()
        }
        self._run = jax.jit(self._forward_and_backward)

    def run(self, tokens, share=1.0):
        """The fused rows, and gradients by parameters and tokens of `loss`."""
        return self._run(self.params, tokens, share)

    def loss(self, pooled, values, share=1.0):
        """A sum over `pooled` and, by a share, the values of each modality."""
        of_values = sum((values[name] * weight).sum() for name, weight in self.of_values.items())
        return (pooled * self.of_pooled).sum() + share * of_values

    def _forward_and_backward(self, params, tokens, share):
        # Jit sorts a dictionary's keys; the config's order is put back.
        tokens = {name: tokens[name] for name in SIZES}

        def loss(params, arrays):
            given = {
                name: one.replace(values=arrays[name][0], pooled=arrays[name][1])
                for name, one in tokens.items()
            }
            fused = self.module.apply({"params": params}, given, train=False)
            values = {name: fused.values[:, slice(*span)] for name, span in fused.spans.items()}
            return self.loss(fused.pooled, values, share), fused

        arrays = {name: (one.values, one.pooled) for name, one in tokens.items()}
        grads, fused = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, arrays)
        return fused, *grads


def check(compiled: Compiled, expected_of: Any, tolerance: float) -> None:
    """Result and gradients are those of the reference."""
    tokens = make_tokens()
    fused, of_params, of_tokens = compiled.run(tokens)
    params, doubles = reference.double(compiled.params), double(tokens)
    expected = expected_of(params, doubles)
    some = np.concatenate([one.mask for one in doubles.values()], axis=1).any(axis=1)[:, None]
    np.testing.assert_allclose(fused.pooled, expected.pooled * some, atol=tolerance)
    for name, (start, stop) in fused.spans.items():
        values = expected.values[name] * doubles[name].mask[..., None]
        np.testing.assert_allclose(fused.values[:, start:stop], values, atol=tolerance)
    if expected.modality_weights is None:
        assert fused.modality_weights is None
    else:
        np.testing.assert_allclose(
            fused.modality_weights, expected.modality_weights, atol=tolerance
        )

    def loss(params, arrays):
        given = {
            name: one.replace(values=arrays[name][0], pooled=arrays[name][1])
            for name, one in doubles.items()
        }
        found = expected_of(params, given)
        values = {name: found.values[name] * one.mask[..., None] for name, one in doubles.items()}
        return compiled.loss(found.pooled * some, values)

    arrays = {name: (one.values, one.pooled) for name, one in doubles.items()}
    leaves, shape = jax.tree.flatten((params, arrays))
    grads = jax.tree.leaves((of_params, of_tokens))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path((params, arrays))]
    rng = np.random.default_rng(2)
    for index, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
        direction = rng.standard_normal(leaf.shape)
        ends = []
        for sign in (1, -1):
            moved = [*leaves]
            moved[index] = leaf + sign * STEP * direction
            ends.append(loss(*jax.tree.unflatten(shape, moved)))
        found = float((np.float64(grad) * direction).sum())
        slope = (ends[0] - ends[1]) / (2 * STEP)
        assert abs(found - slope) < 10 * tolerance * max(1.0, abs(slope)), (
            paths[index],
            found,
            slope,
        )


def agree(name: str, expected_of: Any, options: Mapping[str, Any], tolerance: float = 5e-5) -> Any:
    """Holds `name` with these options to its reference; returns the parameters."""
    compiled = Compiled(name, options)
    check(compiled, expected_of, tolerance)
    return compiled.params
