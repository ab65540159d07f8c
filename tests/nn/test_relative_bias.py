import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.relative_bias import RelativeBias, relative_buckets


def exact_bin(distance: int, bins: int, longest: int) -> int:
    """Half of the bins are exact; k more where distance >= exact * (longest / exact) ** (k / N).

    In whole numbers, so that no rounding moves a border.
    """
    exact = bins // 2
    if distance < exact:
        return distance
    steps, k = bins - exact, 0
    while k < steps and distance**steps * exact ** (k + 1) >= longest ** (k + 1) * exact**steps:
        k += 1
    return min(exact + k, bins - 1)


@pytest.mark.parametrize(("buckets", "longest"), [(32, 128), (8, 6), (32, 256)])
@pytest.mark.parametrize("both_ways", [True, False])
def test_bins_have_the_borders_of_t5(buckets, longest, both_ways):
    distances = np.arange(-400, 401)
    found = relative_buckets(distances, buckets=buckets, longest=longest, both_ways=both_ways)
    if both_ways:
        half = buckets // 2
        expected = [exact_bin(abs(d), half, longest) + half * (d > 0) for d in distances.tolist()]
    else:
        expected = [exact_bin(max(-d, 0), buckets, longest) for d in distances.tolist()]
    np.testing.assert_array_equal(found, expected)


def test_every_head_reads_its_column():
    module = RelativeBias(heads=3, buckets=4, longest=8, both_ways=False)
    table = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    found = np.asarray(module.apply({"params": {"table": jnp.asarray(table)}}, 5))
    assert found.shape == (1, 3, 5, 5)
    for query, key in np.ndindex(5, 5):
        row = exact_bin(max(query - key, 0), 4, 8)
        np.testing.assert_array_equal(found[0, :, query, key], table[row])
