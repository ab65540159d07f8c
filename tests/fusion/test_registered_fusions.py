"""What every registered fusion promises, whatever it computes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from tiny_tokens import PRESENT, ROWS, SIZES, make_tokens, masks

from mmjax import fusion
from mmjax.core.types import Fused
from mmjax.parallel.sharding import RULES

WIDTH = 8

TINY = {
    "weighted_sum": {"weights": "learned"},
    "concat": {"depth": 2},
    "cross_attention": {"heads": 2, "mlp_dim": 16},
}
"""Options that make the fusion small. A new fusion is one line here."""

WITHOUT_GRADIENT = {"cross_attention": ("/cross_attention/key/bias",)}
"""Parameters that cannot matter: a key bias adds the same to all logits of a query."""

POOLED_DOES_NOT_USE = {"weighted_sum": ("_tokens/",), "concat": ("_tokens/",)}
"""What only `values` depends on: methods that pool read each modality's `pooled` alone."""

WITHOUT_COEFFICIENTS = ("concat", "cross_attention")
"""Methods that do not weigh a modality by one number."""


def paths(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/" + "/".join(key.key for key in path): np.asarray(leaf) for path, leaf in found}


@dataclasses.dataclass
class Compiled:
    """A fusion with random parameters, compiled once with its gradients."""

    name: str

    def __post_init__(self):
        module = fusion.build(self.name, width=WIDTH, **TINY[self.name])
        self.params = reference.random_variables(module, make_tokens(), train=False)["params"]
        rng = np.random.default_rng(1)
        length = sum(length for length, _ in SIZES.values())
        of_pooled = jnp.asarray(rng.standard_normal((1, WIDTH)), jnp.float32)
        of_values = jnp.asarray(rng.standard_normal((1, length, WIDTH)), jnp.float32)

        @jax.jit
        def run(params, tokens, share):
            """The fused rows, and gradients of a sum over `pooled` and, by a share, `values`.

            Jit sorts a dictionary's keys; the config's order is put back.
            """
            tokens = {name: tokens[name] for name in SIZES}

            def loss(params, arrays):
                given = {
                    name: one.replace(values=arrays[name][0], pooled=arrays[name][1])
                    for name, one in tokens.items()
                }
                fused = module.apply({"params": params}, given, train=False)
                total = jnp.sum(fused.pooled * of_pooled)
                return total + share * jnp.sum(fused.values * of_values), fused

            arrays = {name: (one.values, one.pooled) for name, one in tokens.items()}
            grads, fused = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, arrays)
            return fused, *grads

        self.run = lambda tokens, share=1.0: run(self.params, tokens, share)


@pytest.fixture(scope="module", params=sorted(TINY))
def compiled(request):
    return Compiled(request.param)


def test_none_is_left_out():
    assert set(TINY) == set(fusion.registry)


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
    assert (fused.modality_weights is None) is (compiled.name in WITHOUT_COEFFICIENTS)
    if fused.modality_weights is None:
        return
    present = np.array([PRESENT[name] for name in SIZES], bool).T
    np.testing.assert_array_equal(np.asarray(fused.modality_weights) != 0, present)


def test_every_parameter_learns(compiled):
    exempt = WITHOUT_GRADIENT.get(compiled.name, ())
    for share, unused in ((1.0, ()), (0.0, POOLED_DOES_NOT_USE.get(compiled.name, ()))):
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


def test_rows_without_any_modality_are_finite_and_do_not_depend_on_anything(compiled):
    fused, _, grads = compiled.run(make_tokens())
    assert np.isfinite(np.asarray(fused.pooled)).all()
    assert all(not np.asarray(grad)[3].any() for pair in grads.values() for grad in pair)
    other, _, _ = compiled.run(make_tokens(seed=5))
    np.testing.assert_array_equal(np.asarray(fused.pooled)[3], np.asarray(other.pooled)[3])


def test_rows_do_not_see_each_other(compiled):
    order = np.array([2, 0, 3, 1])
    shuffled = jax.tree.map(lambda x: x[order], make_tokens())
    ours, other = compiled.run(make_tokens())[0], compiled.run(shuffled)[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a)[order], b, atol=1e-6), ours, other
    )


def test_every_axis_of_every_parameter_has_a_rule(compiled):
    module = fusion.build(compiled.name, **TINY[compiled.name])
    boxed = jax.eval_shape(lambda: module.init(jax.random.key(0), make_tokens(), train=False))
    for leaf in jax.tree.leaves(boxed, is_leaf=lambda leaf: hasattr(leaf, "names")):
        assert set(leaf.names) <= set(RULES) if hasattr(leaf, "names") else leaf.ndim < 2


def test_types(compiled):
    """Computed in bfloat16, stored in float32; coefficients stay in float32."""
    types = {"dtype": jnp.bfloat16, "param_dtype": jnp.float32}
    module = fusion.registry.build(compiled.name, facts=types, **TINY[compiled.name])
    fused, variables = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), make_tokens(), train=False)
    )
    assert fused.values.dtype == fused.pooled.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    if fused.modality_weights is not None:
        assert fused.modality_weights.dtype == jnp.float32


def test_the_order_of_the_dictionary_changes_only_the_layout(compiled):
    """A dictionary that enters jit comes out sorted: parameters must not follow its order."""
    module = fusion.build(compiled.name, width=WIDTH, **TINY[compiled.name])
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
    module = fusion.build(compiled.name, width=WIDTH, **TINY[compiled.name])
    tokens = {"text": make_tokens()["text"]}
    fused = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), tokens, train=False)[0]
    )
    assert fused.values.shape == (ROWS, 4, WIDTH)
    assert fused.spans == {"text": (0, 4)}
