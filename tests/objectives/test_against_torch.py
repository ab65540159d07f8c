"""Losses by torch and gradients by its autograd, as tests/golden/make_objectives.py wrote them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax import objectives

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "objectives.npz")
A, B, LABELS = (GOLDEN[name] for name in ("a", "b", "labels"))
OTHERS = [GOLDEN[name] for name in ("a_momentum", "b_momentum", "queue_a", "queue_b")]

CASES = {
    "albef": (
        lambda a, b, t: objectives.momentum_contrastive_loss(a, b, *OTHERS, 1 / t, alpha=0.4),
        (A, B, np.float32(0.07)),
    ),
    "supervised": (
        lambda a, b: objectives.supervised_contrastive_loss(
            jnp.concatenate([a, b]), np.tile(LABELS, 2), 10.0
        ),
        (A, B),
    ),
    "vicreg": (lambda a, b: objectives.vicreg_loss(a, b), (3 * A, 2 * B)),
    "triplet": (lambda a, b: objectives.triplet_loss(a, b, margin=0.2), (A, B)),
    "distillation": (lambda a: objectives.distillation_loss(a, 6 * B, temperature=2.0), (5 * A,)),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_torch(name):
    loss_of, arrays = CASES[name]
    of = jax.jit(jax.value_and_grad(loss_of, argnums=tuple(range(len(arrays)))))
    loss, grads = of(*arrays)
    assert float(loss) == pytest.approx(float(GOLDEN[f"{name}_loss"]), rel=1e-6)
    for index, grad in enumerate(grads):
        expected = GOLDEN[f"{name}_gradient_{index}"]
        np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6)
