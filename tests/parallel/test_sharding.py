import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from mmjax.core.types import Batch
from mmjax.nn.convolution import conv
from mmjax.nn.dense import dense
from mmjax.parallel.mesh import AXES, BATCH_AXES, MeshConfig, make_mesh
from mmjax.parallel.sharding import RULES, partition_spec, put_batch, unbox, variable_shardings


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(MeshConfig(2, 2, 2))


def test_rules_name_axes_of_the_mesh():
    for axes in RULES.values():
        assert ({axes} if isinstance(axes, str) else set(axes or ())) <= set(AXES)
    assert RULES["batch"] == BATCH_AXES


def test_convolution_kernels_split_one_axis_only():
    """With both split, XLA returned wrong gradients; the sharded training test has a case."""
    assert RULES["channels_in"] is None


@pytest.mark.parametrize(
    ("names", "shape", "expected"),
    [
        (("embed", "mlp"), (8, 16), P("fsdp", "tensor")),
        (("embed", "heads", "head_dim"), (8, 2, 4), P("fsdp", "tensor", None)),
        (("vocab", "embed"), (30, 8), P("tensor", "fsdp")),
        (
            ("spatial", "spatial", "channels_in", "channels_out"),
            (3, 3, 8, 16),
            P(None, None, None, ("fsdp", "tensor")),
        ),
        # An axis that does not divide is left whole, and the others are not.
        (("embed", "mlp"), (7, 16), P(None, "tensor")),
        (("vocab", "embed"), (31, 8), P(None, "fsdp")),
        (("channels_in", "channels_out"), (8, 6), P(None, None)),
        # A mesh axis splits one array axis at most.
        (("embed", "embed"), (8, 8), P("fsdp", None)),
        ((None, "tokens", "embed"), (1, 5, 8), P(None, None, "fsdp")),
    ],
)
def test_partition_spec(mesh, names, shape, expected):
    assert partition_spec(names, shape, mesh) == expected


def test_axes_of_one_device_split_nothing():
    mesh = make_mesh(MeshConfig(-1, 1, 2))
    assert partition_spec(("embed", "mlp"), (8, 16), mesh) == P(None, "tensor")
    assert partition_spec(("channels_out",), (16,), mesh) == P("tensor")


class Small(nn.Module):
    @nn.compact
    def __call__(self, pixels):
        values = conv(16, name="conv")(pixels)
        return dense(6, ("embed", "mlp"), name="dense")(values)


def test_parameters_are_made_where_they_live(mesh):
    pixels = jnp.zeros((1, 4, 4, 3))
    init = lambda: Small().init(jax.random.key(0), pixels)  # noqa: E731
    shardings = variable_shardings(jax.eval_shape(init), mesh)
    made = jax.jit(lambda: unbox(init()), out_shardings=shardings)()["params"]
    local = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data.shape, made)
    assert local == {
        "conv": {"kernel": (3, 3, 3, 4), "bias": (4,)},
        "dense": {"kernel": (8, 3), "bias": (3,)},
    }
    whole = jax.tree.map(np.asarray, made)
    kernel = made["dense"]["kernel"]
    for shard in kernel.addressable_shards:
        np.testing.assert_array_equal(shard.data, whole["dense"]["kernel"][shard.index])
    # data x (fsdp x tensor): every part is held twice.
    assert len({str(shard.index) for shard in kernel.addressable_shards}) == 4


def test_batches_are_split_by_rows(mesh):
    rows = np.arange(8, dtype=np.int32)
    batch = Batch(
        {"image": {"pixel_values": np.zeros((8, 4, 4, 3), np.float32)}},
        {"image": rows > 2},
        {"label": rows},
        rows < 7,
        rows,
    )
    put = put_batch(batch, mesh)
    assert put.inputs["image"]["pixel_values"].addressable_shards[0].data.shape == (2, 4, 4, 3)
    held = {tuple(shard.data.tolist()) for shard in put.row.addressable_shards}
    assert held == {(0, 1), (2, 3), (4, 5), (6, 7)}
    jax.tree.map(np.testing.assert_array_equal, put, batch)
