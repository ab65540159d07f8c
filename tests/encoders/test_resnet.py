import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.encoders.resnet import ConvNorm, ResNet

RNG = np.random.default_rng(0)
PIXELS = RNG.standard_normal((3, 16, 16, 3)).astype(np.float32)


def test_training_takes_the_batch_and_moves_the_averages():
    module = ConvNorm(channels=4, kernel=3, stride=2)
    variables = reference.random_variables(module, jnp.asarray(PIXELS), train=False)
    values, updated = jax.jit(lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"]))(
        variables, PIXELS
    )
    p = reference.double(variables)
    hidden = reference.convolution(
        np.float64(PIXELS), p["params"]["conv"]["kernel"], stride=2, pad=1
    )
    mean, variance = hidden.mean(axis=(0, 1, 2)), hidden.var(axis=(0, 1, 2))
    norm = p["params"]["norm"]
    expected = (hidden - mean) / np.sqrt(variance + 1e-5) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(values, expected, atol=1e-4)
    before, after = p["batch_stats"]["norm"], updated["batch_stats"]["norm"]
    np.testing.assert_allclose(after["mean"], 0.9 * before["mean"] + 0.1 * mean, atol=1e-5)
    np.testing.assert_allclose(after["var"], 0.9 * before["var"] + 0.1 * variance, atol=1e-5)


def test_evaluation_changes_nothing():
    module = ResNet(stem=4, channels=(8,), depths=(2,))
    variables = reference.random_variables(module, PIXELS, train=False)
    apply = jax.jit(lambda v, x: module.apply(v, x, train=False, mutable=["batch_stats"]))
    whole, updated = apply(variables, PIXELS)
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])
    alone, _ = apply(variables, np.repeat(PIXELS[:1], 3, axis=0))
    np.testing.assert_allclose(alone.pooled[0], whole.pooled[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.pooled, whole.values.mean(axis=1), rtol=1e-5, atol=1e-5)
    assert whole.values.shape == (3, 16, 8)


def test_stages_without_a_depth_are_refused():
    with pytest.raises(ConfigError, match="2 depths for 1 stages"):
        ResNet(channels=(8,), depths=(1, 1)).init(jax.random.key(0), PIXELS, train=False)


@pytest.mark.parametrize(("name", "parameters"), [("resnet", 23_508_032), ("regnet", 19_557_656)])
def test_presets_have_the_published_number_of_parameters(name, parameters):
    """ResNet-50 without its classifier; the default of `RegNetConfig`. As torch counts."""
    from mmjax import encoders

    module = encoders.build(name)
    pixels = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), pixels)
    assert reference.count(variables["params"]) == parameters
