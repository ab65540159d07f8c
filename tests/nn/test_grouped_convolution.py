import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from xla_convolution import same_as_xla

from mmjax.nn.grouped_convolution import grouped_convolution
from mmjax.parallel.mesh import MeshConfig, make_mesh

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("space", "kernel", "groups", "outputs", "options"),
    [
        ((7, 6), (3, 3), 8, 8, {"strides": (1, 1), "padding": "SAME"}),
        ((7, 6), (3, 3), 8, 16, {"strides": (2, 2), "padding": "SAME"}),
        ((7, 9), (3, 2), 2, 16, {"strides": (2, 1), "padding": ((1, 1), (0, 2))}),
        ((11,), (4,), 4, 8, {"strides": (1,), "padding": ((2, 1),), "dilation": (2,)}),
    ],
    ids=["each channel alone", "each twice", "strides", "dilated"],
)
def test_values_and_gradients_are_those_of_xla(space, kernel, groups, outputs, options):
    def ours(x, w):
        return grouped_convolution(x, w, groups=groups, **options)

    sizes = {"groups": groups, "inputs": 8, "outputs": outputs}
    same_as_xla(ours, space, kernel, options, **sizes)


def test_gradients_are_right_where_rows_are_split_over_some_axes_and_copied_over_others():
    mesh = make_mesh(MeshConfig(2, 2, 2), jax.local_devices())
    inputs = RNG.standard_normal((8, 5, 5, 8)).astype(np.float32)
    weights = RNG.standard_normal((3, 3, 1, 8)).astype(np.float32)

    @functools.partial(jax.grad, argnums=(0, 1))
    def gradients(x, w):
        y = grouped_convolution(x, w, strides=(1, 1), padding="SAME", groups=8)
        return jnp.sum(y**3)

    def on(rows, kernel):
        return jax.jit(gradients, in_shardings=(rows, kernel))(inputs, weights)

    alone = jax.jit(gradients)(inputs, weights)
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    for axes in ((), (None, None, None, ("fsdp", "tensor"))):
        split = on(rows, NamedSharding(mesh, PartitionSpec(*axes)))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), split, alone
        )
