"""Settings of the methods that pool projections; the methods themselves are in `methods`."""

import jax
import numpy as np
import pytest
import reference
from methods import double
from methods.cosine_pool import cosine_pool
from tiny_tokens import PRESENT, make_tokens

from mmjax import fusion
from mmjax.core.errors import ConfigError


def run(name, **options):
    """The fused rows with random parameters, and those in float64."""
    module = fusion.build(name, width=8, **options)
    params = reference.random_variables(module, make_tokens(), train=False)["params"]
    fused = jax.jit(lambda: module.apply({"params": params}, make_tokens(), train=False))()
    return fused, reference.double(params)


def test_joint_embedding_is_a_sum_of_products_by_default():
    fused, params = run("joint_embedding")
    z = sum(
        np.array(PRESENT[name])[:, None] * (one.pooled @ params[f"{name}_pooled"]["kernel"])
        for name, one in double(make_tokens()).items()
    )
    np.testing.assert_allclose(fused.pooled, z, atol=1e-5)
    assert not any("bias" in params[f"{name}_pooled"] for name in PRESENT)


def test_cosine_pool_in_the_kernel_with_a_fixed_temperature():
    fused, params = run("cosine_pool", temperature=0.25, backend="pallas")
    assert "log_temperature" not in params
    expected = cosine_pool({**params, "log_temperature": np.log(0.25)}, double(make_tokens()))
    np.testing.assert_allclose(fused.pooled, expected.pooled, atol=1e-5)
    np.testing.assert_allclose(fused.modality_weights, expected.modality_weights, atol=1e-5)


def test_the_learned_temperature_starts_from_the_setting():
    module = fusion.build("cosine_pool", width=8, temperature=0.25, learn_temperature=True)
    key = jax.random.key(0, impl="rbg")
    params = jax.jit(lambda: module.init(key, make_tokens(), train=False))()["params"]
    assert float(params["log_temperature"]) == pytest.approx(np.log(0.25))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    module = fusion.build("cosine_pool", temperature=temperature)
    with pytest.raises(ConfigError, match=r"cannot have a temperature of .*a number above 0"):
        reference.shapes(module, make_tokens(), train=False)
