"""What every registered fusion promises, whatever it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agreement import Compiled, check
from methods import METHODS, WIDTH
from tiny_tokens import PRESENT, ROWS, SIZES, make_tokens, masks

from mmjax import fusion
from mmjax.core.types import Fused
from mmjax.parallel.sharding import RULES


def paths(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/" + "/".join(key.key for key in path): np.asarray(leaf) for path, leaf in found}


@pytest.fixture(scope="module", params=sorted(METHODS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def compiled(name):
    return Compiled(name, METHODS[name].options)


def test_none_is_left_out():
    assert set(METHODS) == set(fusion.registry)


def test_agrees_with_its_reference(name, compiled):
    check(compiled, METHODS[name].reference, METHODS[name].tolerance)


def test_shapes_and_spans(compiled):
    fused, _, _ = compiled.run(make_tokens())
    assert isinstance(fused, Fused)
    assert fused.values.shape == (ROWS, 9, WIDTH)
    assert fused.pooled.shape == (ROWS, WIDTH)
    assert fused.spans == {"text": (0, 4), "image": (4, 7), "audio": (7, 9)}
    for name, (start, stop) in fused.spans.items():
        np.testing.assert_array_equal(fused.mask[:, start:stop], masks()[name])
    assert not np.asarray(fused.values)[~np.asarray(fused.mask)].any()
    assert np.asarray(fused.values)[np.asarray(fused.mask)].all()


def test_weights_of_absent_modalities_are_zero(compiled):
    fused, _, _ = compiled.run(make_tokens())
    if fused.modality_weights is None:
        return
    present = np.array([PRESENT[name] for name in SIZES], bool).T
    np.testing.assert_array_equal(np.asarray(fused.modality_weights) != 0, present)


def test_every_parameter_learns(name, compiled):
    exempt = METHODS[name].without_gradient
    for share, unused in ((1.0, ()), (0.0, METHODS[name].pooled_does_not_use)):
        for path, grad in paths(compiled.run(make_tokens(), share)[1]).items():
            assert np.isfinite(grad).all(), path
            if any(part in path for part in unused):
                assert not grad.any(), path
            elif any(path.endswith(part) for part in exempt):
                assert np.abs(grad).max() < 1e-5, path
            else:
                assert np.abs(grad).max() > 1e-3, path


def test_every_valid_token_and_summary_of_every_modality_counts(compiled):
    _, _, grads = compiled.run(make_tokens())
    for name, mask in masks().items():
        values, pooled = map(np.asarray, grads[name])
        assert np.abs(values[mask]).max(axis=-1).min() > 0
        assert np.abs(pooled[mask.any(1)]).max(axis=-1).min() > 0


def test_padding_and_absent_modalities_change_nothing(compiled):
    """Bit for bit, in the result and in every gradient; and they get no gradient themselves."""
    ours = compiled.run(make_tokens())
    other = compiled.run(make_tokens(hidden=1e3))
    jax.tree.map(np.testing.assert_array_equal, ours, other)
    for name, mask in masks().items():
        values, pooled = map(np.asarray, ours[2][name])
        assert not values[~mask].any()
        assert not pooled[~mask.any(1)].any()


def test_rows_without_any_modality_are_zero_and_give_no_gradient(compiled):
    fused, _, of_tokens = compiled.run(make_tokens())
    assert np.isfinite(np.asarray(fused.pooled)).all()
    assert not np.asarray(fused.pooled)[3].any()
    assert all(not np.asarray(grad)[3].any() for pair in of_tokens.values() for grad in pair)
    nothing = {
        name: one.replace(mask=jnp.zeros_like(one.mask)) for name, one in make_tokens().items()
    }
    fused, *grads = compiled.run(nothing)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves((fused, grads)))


def test_rows_do_not_see_each_other(compiled):
    order = np.array([2, 0, 3, 1])
    shuffled = jax.tree.map(lambda x: x[order], make_tokens())
    ours, other = compiled.run(make_tokens())[0], compiled.run(shuffled)[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a)[order], b, atol=1e-6), ours, other
    )


def test_every_axis_of_every_parameter_has_a_rule(compiled):
    module = compiled.module
    boxed = jax.eval_shape(lambda: module.init(jax.random.key(0), make_tokens(), train=False))
    for leaf in jax.tree.leaves(boxed, is_leaf=lambda leaf: hasattr(leaf, "names")):
        assert set(leaf.names) <= set(RULES) if hasattr(leaf, "names") else leaf.ndim < 2


def test_types(name):
    """Computed in bfloat16, stored in float32; coefficients stay in float32."""
    types = {"dtype": jnp.bfloat16, "param_dtype": jnp.float32}
    module = fusion.registry.build(name, facts=types, **METHODS[name].options)
    fused, variables = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), make_tokens(), train=False)
    )
    assert fused.values.dtype == fused.pooled.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    if fused.modality_weights is not None:
        assert fused.modality_weights.dtype == jnp.float32


def test_the_order_of_the_dictionary_changes_only_the_layout(compiled):
    """A dictionary that enters jit comes out sorted: parameters must not follow its order."""
    module = compiled.module
    run = jax.jit(lambda tokens: module.apply({"params": compiled.params}, tokens, train=False))
    ours, other = compiled.run(make_tokens())[0], run(make_tokens())
    assert list(ours.spans) == ["text", "image", "audio"]
    np.testing.assert_allclose(ours.pooled, other.pooled, atol=1e-5)
    for name, (start, stop) in ours.spans.items():
        values = other.values[:, slice(*other.spans[name])]
        np.testing.assert_allclose(ours.values[:, start:stop], values, atol=1e-5)
    if ours.modality_weights is not None:
        columns = [list(other.spans).index(name) for name in ours.spans]
        np.testing.assert_allclose(
            ours.modality_weights, other.modality_weights[:, np.array(columns)], atol=1e-6
        )


def test_one_modality_alone(compiled):
    module = compiled.module
    tokens = {"text": make_tokens()["text"]}
    fused = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), tokens, train=False)[0]
    )
    assert fused.values.shape == (ROWS, 4, WIDTH)
    assert fused.spans == {"text": (0, 4)}
