import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.encoders.albert import Albert

IDS = np.random.default_rng(0).integers(0, 13, (2, 4)).astype(np.int32)
MASK = np.arange(4) < np.array([[4], [2]])
SIZES = {
    "vocab_size": 13,
    "max_length": 4,
    "width": 8,
    "depth": 3,
    "heads": 2,
    "mlp_dim": 16,
    "embedding_width": 4,
    "groups": 2,
}


@pytest.fixture(scope="module")
def variables():
    return reference.random_variables(Albert(**SIZES), IDS, MASK, train=False)


def test_depth_adds_no_parameters():
    deeper = {**SIZES, "depth": 9}
    assert reference.shapes(Albert(**deeper), IDS, MASK, train=False) == reference.shapes(
        Albert(**SIZES), IDS, MASK, train=False
    )


@pytest.mark.slow
def test_scanned_layers_compute_the_same_with_the_same_parameters(variables):
    def values(params, **options):
        module = Albert(**SIZES, **options)
        found, state = module.apply(
            {"params": params}, IDS, MASK, train=False, mutable=["intermediates"]
        )
        return jnp.sum(found.values**2), (found.values, state["intermediates"])

    run = jax.jit(jax.value_and_grad(values, has_aux=True), static_argnames=("scan", "remat"))
    (_, (plain, sown)), gradients = run(variables["params"])
    (_, (scanned, stacked)), others = run(variables["params"], scan=True, remat="full")
    np.testing.assert_allclose(scanned, plain, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), others, gradients
    )
    hidden = sown["transformer"]["group_0"]["shared"]["hidden"]
    assert len(hidden) == 2
    (together,) = stacked["transformer"]["group_0"]["shared"]["hidden"]
    np.testing.assert_allclose(together, np.stack(hidden), atol=1e-5)


@pytest.mark.slow
def test_layers_that_share_parameters_do_not_share_dropout(variables):
    module = Albert(**{**SIZES, "groups": 1}, dropout=0.5)
    params = reference.random_variables(module, IDS, MASK, train=False)
    _, state = module.apply(
        params,
        IDS,
        MASK,
        train=True,
        rngs={"dropout": jax.random.key(0)},
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: module.name == "Dropout_0",
    )
    block = state["intermediates"]["transformer"]["group_0"]["shared"]["stack"]["layer_0"]
    tree = block["Dropout_0"]["__call__"]
    zeros = [np.asarray(one == 0) for one in tree]
    assert len({one.tobytes() for one in zeros}) == len(zeros) == 3
