import jax
import numpy as np
import pytest
import reference
from tiny_tokens import SIZES, make_tokens, masks

from mmjax import fusion
from mmjax.core.errors import ConfigError


@pytest.mark.parametrize("queries", [(), ("image",)])
def test_agrees_with_its_formula(queries):
    module = fusion.build("cross_attention", width=8, heads=2, mlp_dim=16, queries=queries)
    variables = reference.random_variables(module, make_tokens(), train=False)
    fused = jax.jit(lambda: module.apply(variables, make_tokens(), train=False))()
    p = reference.double(variables["params"])
    assert {name for name in SIZES if name in p} == set(queries or SIZES)

    valid = masks()
    values, pooled = {}, {}
    for name, one in make_tokens().items():
        values[name] = reference.dense(p[f"{name}_tokens"], np.float64(one.values))
        values[name] *= valid[name][..., None]
        pooled[name] = reference.dense(p[f"{name}_pooled"], np.float64(one.pooled))
    attended = dict(values)
    for name in queries or SIZES:
        others = [other for other in SIZES if other != name]
        x = reference.transformer(
            p[name],
            values[name],
            valid[name],
            np.concatenate([values[other] for other in others], axis=1),
            np.concatenate([valid[other] for other in others], axis=1),
            norm="pre",
            eps=1e-6,
        )
        attended[name] = x * valid[name][..., None]
    summaries = [
        (pooled[name] + reference.masked_mean(attended[name], valid[name]))
        * valid[name].any(axis=1)[:, None]
        for name in sorted(SIZES)
    ]
    expected = reference.dense(p["out"], np.concatenate(summaries, axis=1))
    np.testing.assert_allclose(fused.pooled, expected, atol=5e-5)
    np.testing.assert_allclose(
        fused.values, np.concatenate(list(attended.values()), axis=1), atol=5e-5
    )


def test_an_unknown_query_is_refused():
    module = fusion.build("cross_attention", queries=("imag",))
    with pytest.raises(ConfigError, match=r"no modality 'imag'.*did you mean 'image'"):
        reference.shapes(module, make_tokens(), train=False)
