import functools

import jax
import numpy as np
import pytest
import reference

from mmjax.encoders.conv1d import Conv1D

FEATURES = np.random.default_rng(0).standard_normal((3, 9, 3)).astype(np.float32)
LENGTHS = np.array([9, 4, 0])
MASK = np.arange(9) < LENGTHS[:, None]


def dilated(p, x, dilation, left, right):
    """One position at a time, a kernel tap at a time."""
    x = np.pad(x, ((left, right), (0, 0)))
    taps, reach = p["kernel"], (len(p["kernel"]) - 1) * dilation
    rows = [
        sum(x[t + k * dilation] @ taps[k] for k in range(len(taps))) for t in range(len(x) - reach)
    ]
    return np.stack(rows) + p["bias"]


def tcn(p, x, sides):
    for index in range(2):
        branch = x
        for part in range(2):
            name = f"block_{index}_conv_{part}"
            branch = dilated(p[name], branch, 2**index, *sides[index])
            branch = np.maximum(reference.layer_norm(p[f"{name}_norm"], branch, 1e-6), 0)
        skip = p.get(f"block_{index}_skip")
        x = np.maximum((x if skip is None else reference.dense(skip, x)) + branch, 0)
    return x


@pytest.mark.parametrize(
    ("causal", "pooling", "sides"),
    [(True, "last", [(2, 0), (4, 0)]), (False, "mean", [(1, 1), (2, 2)])],
)
def test_each_row_is_as_if_it_were_alone_and_ended_there(causal, pooling, sides):
    module = Conv1D(channels=(4, 4), causal=causal, pooling=pooling)
    variables = reference.random_variables(module, FEATURES, MASK, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, FEATURES, MASK)
    p = reference.double(variables["params"])
    assert ("block_0_skip" in p, "block_1_skip" in p) == (True, False)
    np.testing.assert_array_equal(tokens.mask, MASK)
    for row, length in enumerate(LENGTHS[:2]):
        x = tcn(p, np.float64(FEATURES[row, :length]), sides)
        np.testing.assert_allclose(tokens.values[row, :length], x, atol=2e-5)
        expected = x[-1] if pooling == "last" else x.mean(axis=0)
        np.testing.assert_allclose(tokens.pooled[row], expected, atol=2e-5)
    assert not np.asarray(tokens.pooled)[2].any()


def test_a_waveform_is_read_in_steps():
    """Ten samples at 4 a step: 3 steps, of which the second row has one."""
    samples = np.random.default_rng(1).standard_normal((2, 10)).astype(np.float32)
    mask = np.arange(10) < np.array([[10], [3]])
    module = Conv1D(channels=(4,), fold=4, causal=True)
    fields = {"input_values": samples, "attention_mask": mask}
    variables = reference.random_variables(module, **fields, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, **fields)
    np.testing.assert_array_equal(tokens.mask, [[1, 1, 1], [1, 0, 0]])
    steps = np.pad(np.where(mask, samples, 0), ((0, 0), (0, 2))).reshape(2, 3, 4)
    folded = Conv1D(channels=(4,), causal=True)
    run = jax.jit(functools.partial(folded.apply, train=False))
    expected = run(variables, steps, np.asarray(tokens.mask))
    np.testing.assert_allclose(tokens.pooled, expected.pooled, atol=1e-6)


def test_a_waveform_without_a_setting_is_read_ten_milliseconds_at_a_time():
    samples = np.zeros((1, 16000), np.float32)
    module = Conv1D(channels=(4,))
    tokens, _ = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), input_values=samples, train=False)
    )
    assert tokens.values.shape == (1, 100, 4)
