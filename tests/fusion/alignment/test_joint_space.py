import jax
import numpy as np
import reference
from tiny_tokens import make_tokens

from mmjax.core.types import Embeddings
from mmjax.fusion import alignment

MODULE = alignment.JointSpace(projection_dim=8, depth=2, hidden=16, logit_bias=-2.0)
PARAMS = reference.random_variables(MODULE, make_tokens(), train=False)["params"]


@jax.jit
def embed(tokens):
    def loss(params, pooled):
        given = {name: one.replace(pooled=pooled[name]) for name, one in tokens.items()}
        found = MODULE.apply({"params": params}, given, train=False)
        return sum((one[:, 0] ** 3).sum() for one in found.values.values()), found

    pooled = {name: one.pooled for name, one in tokens.items()}
    grads, found = jax.grad(loss, argnums=(0, 1), has_aux=True)(PARAMS, pooled)
    return found, grads


def test_unit_vectors_of_each_modality():
    tokens = make_tokens()
    found, grads = embed(tokens)
    p = reference.double(PARAMS)
    assert isinstance(found, Embeddings)
    for name, one in tokens.items():
        hidden = reference.dense(p[f"{name}_hidden_0"], np.float64(one.pooled))
        joined = reference.gelu(hidden) @ p[f"{name}_projection"]["kernel"]
        joined = np.where(one.mask.any(axis=1, keepdims=True), joined, 0)
        length = np.maximum(np.linalg.norm(joined, axis=1, keepdims=True), 1e-12)
        np.testing.assert_allclose(found.values[name], joined / length, atol=1e-6)
    np.testing.assert_allclose(found.logit_scale, np.exp(p["logit_scale"]), rtol=1e-6)
    np.testing.assert_allclose(found.logit_bias, p["logit_bias"], rtol=1e-6)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads[0]):
        assert np.asarray(grad).any() != ("logit" in str(path)), path


def test_what_absent_modalities_hold_changes_nothing():
    found, grads = embed(make_tokens())
    other, of_other = embed(make_tokens(hidden=1e3))
    for name, one in make_tokens().items():
        absent = ~np.asarray(one.mask).any(axis=1)
        np.testing.assert_array_equal(found.values[name], other.values[name])
        assert not np.asarray(found.values[name])[absent].any()
        assert not np.asarray(grads[1][name])[absent].any()
    jax.tree.map(np.testing.assert_array_equal, grads, of_other)
