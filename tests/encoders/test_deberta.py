import jax
import numpy as np
import pytest
import reference

from mmjax.encoders.deberta import Deberta, log_buckets

IDS = np.random.default_rng(0).integers(0, 13, (2, 6)).astype(np.int32)
MASK = np.arange(6) < np.array([[6], [3]])
SIZES = {
    "vocab_size": 13,
    "max_length": 8,
    "width": 8,
    "depth": 3,
    "heads": 2,
    "mlp_dim": 16,
    "max_distance": 8,
    "buckets": 4,
}


def test_near_distances_have_a_bucket_each():
    distances = np.arange(-600, 601)
    buckets = log_buckets(distances, 256, 512)
    near = np.abs(distances) <= 128
    np.testing.assert_array_equal(buckets[near], distances[near])
    np.testing.assert_array_equal(buckets, -buckets[::-1])
    assert (np.diff(buckets) >= 0).all()
    assert buckets[distances == 511] == 255
    # He et al. 2021: the logarithm of the distance, from 128 at 128 on.
    exact = np.log(300 / 128) / np.log(511 / 128) * 127 + 128
    assert buckets[distances == 300] == np.ceil(exact)


@pytest.mark.parametrize("conv_kernel", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_scanned_layers_compute_the_same(conv_kernel):
    module = Deberta(**SIZES, conv_kernel=conv_kernel)
    params = dict(reference.random_variables(module, IDS, MASK, train=False)["params"])
    plain = jax.jit(lambda p: module.apply({"params": p}, IDS, MASK, train=False))(params)
    for name in ("first", "stack"):
        if name in params:
            layers = [params[name][key] for key in sorted(params[name])]
            params[name] = {"layers": jax.tree.map(lambda *rows: np.stack(rows), *layers)}
    again = module.clone(scan=True)
    scanned = jax.jit(lambda p: again.apply({"params": p}, IDS, MASK, train=False))(params)
    np.testing.assert_allclose(scanned.values[MASK], plain.values[MASK], atol=1e-5)


def test_what_stands_in_the_padding_changes_nothing():
    module = Deberta(**SIZES, conv_kernel=3)
    variables = reference.random_variables(module, IDS, MASK, train=False)
    run = jax.jit(lambda variables, ids: module.apply(variables, ids, MASK, train=False))
    ours, other = run(variables, IDS), run(variables, np.where(MASK, IDS, 12))
    np.testing.assert_array_equal(ours.pooled, other.pooled)
    np.testing.assert_array_equal(np.asarray(ours.values)[MASK], np.asarray(other.values)[MASK])
