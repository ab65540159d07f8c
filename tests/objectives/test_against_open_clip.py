"""CLIP's and SigLIP's losses and gradients, as tests/golden/make_open_clip.py wrote them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax import objectives
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import batch_sharding, replicated

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "open_clip.npz")
SCALARS = {"clip": (np.float32(20.0),), "siglip": (np.float32(10.0), np.float32(-3.0))}
LOSSES = {"clip": objectives.clip_loss, "siglip": objectives.siglip_loss}


def check(name, source, loss_of, arrays, shardings=None):
    of = jax.value_and_grad(loss_of, argnums=tuple(range(len(arrays))))
    loss, grads = jax.jit(of, in_shardings=shardings)(*arrays)
    expected = float(GOLDEN[f"{name}_{source}_loss"])
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    for index, grad in enumerate(grads):
        theirs = GOLDEN[f"{name}_{source}_gradient_{index}"]
        np.testing.assert_allclose(grad, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_agrees_with_open_clip(name, chunk):
    arrays = (GOLDEN["a"], GOLDEN["b"], *SCALARS[name])
    check(name, "alone", lambda *x: LOSSES[name](*x, chunk=chunk), arrays)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_agrees_with_open_clip_in_two_processes(name):
    """Its local losses over gathered vectors, and its ring; ours on two devices."""
    mesh = make_mesh(MeshConfig(2, 1, 1), jax.devices()[:2])
    spread, whole = batch_sharding(mesh), replicated(mesh)
    arrays = (GOLDEN["a"], GOLDEN["b"], *SCALARS[name])
    shardings = (spread, spread, *[whole] * len(SCALARS[name]))
    check(name, "shared", lambda *x: LOSSES[name](*x, chunk=8), arrays, shardings)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_agrees_with_the_models_of_transformers(name):
    text, image, scale = (GOLDEN[f"{name}_model_{key}"] for key in ("a", "b", "scale"))
    bias = (np.float32(-2.0),) if name == "siglip" else ()

    def loss_of(a, b, scale, *bias):
        return LOSSES[name](a, b, jnp.exp(scale), *bias)

    check(name, "model", loss_of, (text, image, scale.reshape(()), *bias))
