"""What every registered objective promises, whatever it computes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from cases import CASES
from scene import (
    PADDING_ROW,
    ROWS,
    Scene,
    make_batch,
    make_context,
    make_encoded,
    make_hidden_batch,
)

from mmjax import objectives
from mmjax.core.types import ObjectiveOutput
from mmjax.parallel.sharding import RULES

STEP = 1e-5


def paths(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/" + "/".join(key.key for key in path): np.asarray(leaf) for path, leaf in found}


class Compiled:
    """An objective with random parameters, compiled once with its gradients."""

    def __init__(self, name):
        self.case = CASES[name]
        self.module = objectives.build(name, **self.case.options)
        self.batch = make_batch()
        self.encoded = self.encode(self.batch)
        context = make_context(self.batch, self.encoded)
        shapes = reference.shapes(self.module, context, train=False)
        self.params = reference.random_like(shapes.get("params", {}))
        # What an averaged encoder makes takes no gradient.
        requests = self.module.requests()
        self.still = {name for name, request in requests.items() if request.momentum}
        self._run = jax.jit(self._forward_and_backward)

    def encode(self, batch, hidden=0.0):
        return make_encoded(self.module, batch, self.case.lengths, hidden=hidden)

    def arrays(self, encoded):
        return {
            name: (one.tokens.values, one.tokens.pooled)
            for name, one in encoded.items()
            if name not in self.still
        }

    def run(self, batch=None, encoded=None):
        """Its output, and gradients by parameters and by the tokens of each forward."""
        return jax.device_get(self._run(self.params, batch or self.batch, encoded or self.encoded))

    def _forward_and_backward(self, params, batch, encoded):
        def loss(params, arrays):
            context = make_context(batch, moved(encoded, arrays))
            variables = {"params": params, **self.case.collections}
            output = self.module.apply(variables, context, train=False)
            return output.loss, output

        of = jax.grad(loss, argnums=(0, 1), has_aux=True)
        grads, output = of(params, self.arrays(encoded))
        return output, *grads

    def expected(self, params, arrays):
        """The reference's loss, with other parameters and arrays than those it starts from."""
        held_params, held_encoded, collections = reference_arrays(
            (self.params, self.encoded, dict(self.case.collections))
        )
        held = Scene(held_params, self.batch, held_encoded, collections)
        scene = Scene(params, self.batch, moved(held_encoded, arrays), collections, held)
        return float(self.case.reference(scene))


def reference_arrays(tree):
    """Floating point numbers in float64; the rest as it is."""
    return jax.tree.map(
        lambda x: np.asarray(x, np.float64) if np.asarray(x).dtype.kind == "f" else x, tree
    )


def moved(encoded, arrays):
    """The forwards with other values and summaries."""
    return {
        name: one.replace(tokens=one.tokens.replace(values=arrays[name][0], pooled=arrays[name][1]))
        if name in arrays
        else one
        for name, one in encoded.items()
    }


@pytest.fixture(scope="module", params=sorted(CASES))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def compiled(name):
    return Compiled(name)


def test_none_is_left_out():
    assert set(CASES) == set(objectives.registry)


def test_agrees_with_its_reference(compiled):
    """The loss, and its slope along a random direction of each parameter and each array."""
    output, *grads = compiled.run()
    start = reference.double((compiled.params, compiled.arrays(compiled.encoded)))
    tolerance = compiled.case.tolerance
    expected = compiled.expected(*start)
    assert float(output.loss) == pytest.approx(expected, rel=tolerance, abs=tolerance)
    leaves, shape = jax.tree.flatten(start)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(start)]
    rng = np.random.default_rng(4)
    for index, (leaf, grad) in enumerate(zip(leaves, jax.tree.leaves(grads), strict=True)):
        direction = rng.standard_normal(leaf.shape)
        ends = []
        for sign in (1, -1):
            there = [*leaves]
            there[index] = leaf + sign * STEP * direction
            ends.append(compiled.expected(*jax.tree.unflatten(shape, there)))
        slope = (ends[0] - ends[1]) / (2 * STEP)
        found = float((np.float64(grad) * direction).sum())
        assert abs(found - slope) < 10 * tolerance * max(1.0, abs(slope)), names[index]


def test_tells_sums(compiled):
    output, *_ = compiled.run()
    assert isinstance(output, ObjectiveOutput)
    assert {"loss_sum", "count"} <= set(output.metrics)
    count = float(output.metrics["count"])
    assert count > 0
    assert float(output.metrics["loss_sum"]) / count == pytest.approx(float(output.loss), rel=1e-5)
    assert all(np.ndim(value) == 0 for value in output.metrics.values())


def test_batch_coupled_is_true(compiled):
    """What is not coupled is the weighted mean over two halves of the rows; what is, is not."""
    whole, *_ = compiled.run()
    first = np.arange(ROWS) < ROWS // 2
    halves = [
        compiled.run(compiled.batch.replace(row_mask=compiled.batch.row_mask & half))[0]
        for half in (first, ~first)
    ]
    weights = np.array([float(half.weight) for half in halves])
    mean = float((weights * [float(half.loss) for half in halves]).sum() / weights.sum())
    assert weights.all()
    if compiled.module.batch_coupled:
        assert abs(mean - float(whole.loss)) > 1e-4
        return
    assert float(whole.loss) == pytest.approx(mean, rel=1e-5)
    assert float(whole.weight) == pytest.approx(weights.sum(), rel=1e-6)
    for key, value in whole.metrics.items():
        total = sum(float(half.metrics[key]) for half in halves)
        assert float(value) == pytest.approx(total, rel=1e-5, abs=1e-6), key


def test_padding_and_absent_modalities_change_nothing(compiled):
    """Bit for bit, in the loss, the sums and every gradient; and they get none themselves."""
    batch = make_hidden_batch()
    ours = compiled.run()
    other = compiled.run(batch, compiled.encode(batch, hidden=1e3))
    for one, two in zip(ours, other, strict=True):
        one, two = (
            x.replace(predictions={}) if hasattr(x, "predictions") else x for x in (one, two)
        )
        jax.tree.map(np.testing.assert_array_equal, one, two)
    for name, (values, pooled) in ours[2].items():
        mask = compiled.encoded[name].tokens.mask
        assert not values[~mask].any()
        assert not pooled[~mask.any(axis=1)].any()
        assert not values[PADDING_ROW].any()


def test_no_row_that_counts_is_zero_without_a_gradient(compiled):
    output, *grads = compiled.run(compiled.batch.replace(row_mask=np.zeros(ROWS, bool)))
    assert float(output.loss) == 0.0
    assert float(output.metrics["count"]) == 0.0
    assert all(np.isfinite(value) for value in output.metrics.values())
    assert all(not leaf.any() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("gone", ["text", "image"])
def test_a_modality_that_no_row_has_is_survived(compiled, gone):
    nothing = np.zeros(ROWS, bool)
    batch = compiled.batch.replace(present={**compiled.batch.present, gone: nothing})
    output, *grads = compiled.run(batch, compiled.encode(batch))
    assert np.isfinite(output.loss)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_every_parameter_learns(compiled):
    exempt = compiled.case.without_gradient
    for path, grad in paths(compiled.run()[1]).items():
        if path.endswith(exempt or "\0"):
            assert np.abs(grad).max() < 1e-6, path
        else:
            assert np.abs(grad).max() > 1e-5, path


def test_every_axis_of_every_parameter_has_a_rule(compiled):
    context = make_context(compiled.batch, compiled.encoded)
    boxed = jax.eval_shape(lambda: compiled.module.init(jax.random.key(0), context, train=False))
    for leaf in jax.tree.leaves(boxed, is_leaf=lambda leaf: hasattr(leaf, "names")):
        assert set(leaf.names) <= set(RULES) if hasattr(leaf, "names") else leaf.ndim < 3


def test_types(name):
    """Computed in bfloat16, stored in float32; losses and sums stay in float32. In training too."""
    options = {**CASES[name].options, "dtype": jnp.bfloat16, "param_dtype": jnp.float32}
    module = objectives.build(name, **options)
    batch = make_batch()
    encoded = {
        name: dataclasses.replace(
            one,
            tokens=jax.tree.map(
                lambda x: x.astype(jnp.bfloat16) if x.dtype == np.float32 else x, one.tokens
            ),
        )
        for name, one in make_encoded(module, batch, CASES[name].lengths).items()
    }

    def run():
        context = make_context(batch, encoded)
        variables = module.init(jax.random.key(0), context, train=False)
        rngs = {name: jax.random.key(1, impl="rbg") for name in ("mask", "dropout")}
        kept = [kind for kind in variables if kind != "params"]
        output, new = module.apply(variables, context, train=True, rngs=rngs, mutable=kept)
        assert jax.tree.structure(new) == jax.tree.structure({k: variables[k] for k in kept})
        return variables.get("params", {}), output

    params, output = jax.eval_shape(run)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} <= {jnp.dtype("float32")}
    floats = (output.loss, output.weight, *output.metrics.values())
    assert {leaf.dtype for leaf in floats} == {jnp.dtype("float32")}


def test_asks_for_what_it_uses(compiled):
    """Without a joint space or a fusion, unless it says that it uses them."""

    def refuse(*_):
        raise AssertionError("not asked for")

    context = make_context(compiled.batch, compiled.encoded)
    if not compiled.module.uses_joint_space:
        context = dataclasses.replace(context, embed=refuse)
    if not compiled.module.uses_fusion:
        context = dataclasses.replace(context, fuse=refuse)
    jax.eval_shape(lambda: compiled.module.init(jax.random.key(0), context, train=False))
