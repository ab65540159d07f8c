import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.nn.stack import Stack
from mmjax.nn.transformer import Block, Transformer

RNG = np.random.default_rng(0)
VALUES = jnp.asarray(RNG.standard_normal((2, 3, 4)), jnp.float32)
MASK = jnp.array([[1, 1, 0], [1, 1, 1]], bool)
WEIGHTS = jnp.asarray(RNG.standard_normal(VALUES.shape), jnp.float32)


def transformer(scan, remat):
    return Transformer(depth=2, heads=2, mlp_dim=8, scan=scan, remat=remat)


def stacked(params):
    """The parameters of an unrolled stack as those of a scanned one."""
    layers = [params["stack"][f"layer_{index}"] for index in range(2)]
    scanned = {"layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}
    return {**params, "stack": scanned}


def run(scan, remat, params):
    module = transformer(scan, remat)

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return jnp.sum(module.apply({"params": params}, VALUES, MASK, train=False) * WEIGHTS)

    return loss(params)


@pytest.fixture(scope="module")
def unrolled():
    module = transformer(False, "none")
    params = reference.random_variables(module, VALUES, MASK, train=False)["params"]
    return params, run(False, "none", params)


def test_unrolled_agrees_with_the_formula(unrolled):
    params, (loss, _) = unrolled
    output = reference.transformer(
        reference.double(params), np.float64(VALUES), np.asarray(MASK), norm="pre", eps=1e-6
    )
    assert float(loss) == pytest.approx(float((output * WEIGHTS).sum()), rel=1e-5)


@pytest.mark.parametrize("remat", ["none", "full", "dots", "branches", "offload"])
@pytest.mark.parametrize("scan", [False, True])
def test_scanned_and_rematerialised_equal_unrolled(unrolled, scan, remat):
    params, (loss, grads) = unrolled
    found, found_grads = run(scan, remat, stacked(params) if scan else params)
    assert float(found) == pytest.approx(float(loss), rel=1e-5)
    expected = stacked(grads) if scan else grads
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found_grads, expected
    )


def test_rematerialised_blocks_are_computed_again():
    module = {remat: transformer(True, remat) for remat in ("none", "full", "dots")}
    params = reference.random_variables(module["none"], VALUES, MASK, train=False)
    saved = {}
    for remat, one in module.items():
        loss = lambda p, one=one: one.apply(p, VALUES, MASK, train=False).sum()  # noqa: E731
        _, pullback = jax.eval_shape(lambda p, loss=loss: jax.vjp(loss, p), params)
        saved[remat] = reference.count(pullback)
    assert saved["full"] < saved["dots"] < saved["none"]


def test_the_scanned_axis_has_a_name():
    module = transformer(True, "none")
    boxed = jax.eval_shape(lambda: module.init(jax.random.key(0), VALUES, MASK, train=False))
    layers = boxed["params"]["stack"]["layers"]
    assert layers["mlp"]["up"]["kernel"].names == ("layers", "embed", "mlp")
    assert layers["attention"]["query"]["kernel"].names == (
        "layers",
        "embed",
        "heads",
        "head_dim",
    )


class Halve(nn.Module):
    @nn.compact
    def __call__(self, values, *, train):
        return nn.Dropout(0.5, deterministic=not train)(values)


@pytest.mark.parametrize("scan", [False, True])
def test_every_layer_drops_something_else(scan):
    module = Stack(block=Halve, settings={}, depth=3, scan=scan)
    rngs = {"dropout": jax.random.key(0, impl="rbg")}
    found = np.asarray(jax.jit(lambda: module.apply({}, jnp.ones(4096), train=True, rngs=rngs))())
    assert set(np.unique(found)) == {0.0, 8.0}
    assert abs((found > 0).mean() - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / 4096)


def test_a_part_of_the_blocks_has_their_parameters():
    whole = Transformer(depth=3, heads=2, mlp_dim=8, final_norm=False)
    params = reference.random_variables(whole, VALUES, MASK, train=False)["params"]["stack"]
    settings = {"heads": 2, "mlp_dim": 8}
    stack, context = Stack(block=Block, settings=settings, depth=3), (MASK,)

    def run(params, values, start, stop):
        given = {"params": params}
        return stack.apply(given, values, *context, start=start, stop=stop, train=False)

    shapes = reference.shapes(stack, VALUES, MASK, start=1, stop=2, train=False)
    assert list(shapes["params"]) == ["layer_1"]
    parts, once = jax.jit(
        lambda params: (
            run(params, run(params, run(params, VALUES, 0, 1), 1, 1), 1, 3),
            run(params, VALUES, 0, 3),
        )
    )(params)
    np.testing.assert_array_equal(parts, once)
    scanned = Stack(block=Block, settings=settings, depth=3, scan=True)
    with pytest.raises(ConfigError, match=r"part of a stack of scanned blocks.*scan=False"):
        reference.shapes(scanned, VALUES, MASK, stop=2, train=False)
