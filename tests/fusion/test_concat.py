import jax
import numpy as np
import reference
from tiny_tokens import SIZES, make_tokens, masks

from mmjax import fusion


def test_agrees_with_its_formula():
    module = fusion.build("concat", width=8, depth=2, activation="relu")
    variables = reference.random_variables(module, make_tokens(), train=False)
    fused = jax.jit(lambda: module.apply(variables, make_tokens(), train=False))()
    p = reference.double(variables["params"])
    parts, tokens = {}, []
    for name, one in make_tokens().items():
        here = masks()[name].any(axis=1)[:, None]
        pooled = reference.dense(p[f"{name}_pooled"], np.float64(one.pooled))
        parts[name] = np.where(here, pooled, 0)
        tokens.append(reference.dense(p[f"{name}_tokens"], np.float64(one.values)))
    hidden = reference.dense(
        p["layer_0"], np.concatenate([parts[name] for name in sorted(SIZES)], axis=1)
    )
    pooled = reference.dense(p["layer_1"], np.maximum(hidden, 0))
    np.testing.assert_allclose(fused.pooled, pooled, atol=2e-5)
    valid = np.concatenate(list(masks().values()), axis=1)
    expected = np.concatenate(tokens, axis=1) + pooled[:, None]
    np.testing.assert_allclose(fused.values, np.where(valid[..., None], expected, 0), atol=2e-5)
