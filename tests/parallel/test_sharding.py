import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch
from mmjax.nn.convolution import conv
from mmjax.nn.dense import dense
from mmjax.nn.stack import Stack
from mmjax.nn.transformer import Block
from mmjax.parallel.collectives import collectives
from mmjax.parallel.mesh import AXES, BATCH_AXES, MeshConfig, make_mesh, traced_on
from mmjax.parallel.program import Program
from mmjax.parallel.sharding import (
    RULES,
    batch_sharding,
    partition_spec,
    put_batch,
    replicated,
    spread,
    unbox,
    variable_shardings,
)
from mmjax.parallel.topology import FAST, topology_mesh


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


def told(mesh, overrides, tree=None):
    """The specs of a kernel [8 6] and its moments."""
    boxed = nn.Partitioned(jnp.zeros((8, 6)), ("embed", "mlp"))
    tree = {"dense": {"kernel": boxed}} if tree is None else tree
    state = {"params": tree, "opt_state": ({"mu": tree},), "ema": tree}
    return jax.tree.map(lambda one: one.spec, variable_shardings(state, mesh, overrides))


def test_parameters_are_laid_out_by_pattern_and_their_moments_follow(mesh):
    found = told(mesh, {"nothing": ("fsdp",), "^/dense/kernel$": ("data+fsdp", "tensor")})
    expected = P(("data", "fsdp"), "tensor")
    assert jax.tree.leaves(found, is_leaf=lambda x: isinstance(x, P)) == [expected] * 3
    assert told(mesh, {"kernel": ("", "")})["params"]["dense"]["kernel"] == P(None, None)
    # What is not named is as the rules say.
    assert told(mesh, {"bias": ("",)})["params"]["dense"]["kernel"] == P("fsdp", "tensor")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (("model",), "no mesh axis 'model'.*valid: data, fsdp, tensor"),
        (("", "data+fsdp"), r"6 does not split 4 ways over data\\+fsdp.*/dense/kernel"),
        (("fsdp", "fsdp"), "names an axis twice"),
        (("", "", "fsdp"), "does not fit 2 dimensions"),
    ],
)
def test_layouts_that_cannot_be_are_refused(mesh, axes, message):
    with pytest.raises(ConfigError, match=message.replace("\\\\", "\\")):
        told(mesh, {"kernel": axes})


class Double(nn.Module):
    width: int

    @nn.compact
    def __call__(self, values, *, train):
        return values + dense(self.width, ("embed", "mlp"), name="dense")(values)


@pytest.mark.parametrize("scan", [False, True])
def test_tokens_are_split_between_the_layers_of_a_stack(scan):
    mesh = make_mesh(MeshConfig(data=2, sequence=4))
    stack = Stack(block=Double, settings={"width": 4}, depth=2, scan=scan)
    values = jnp.arange(2.0 * 9 * 4).reshape(2, 9, 4)
    variables = unbox(stack.init(jax.random.key(0), values, train=False))
    run = lambda v, x: stack.apply(v, x, train=False)  # noqa: E731
    split = jax.jit(traced_on(mesh, run), in_shardings=(replicated(mesh), batch_sharding(mesh)))
    np.testing.assert_allclose(split(variables, values), run(variables, values), rtol=2e-5)
    # 9 tokens over 4 devices: 3 for each, and the last has none.
    assert "f32[1,3,4]" in split.lower(variables, values).compile().as_text()


def test_rows_stay_split_and_channels_whole_between_layers(mesh):
    """The weights' layout alone would have every device compute all rows."""
    values = jnp.ones((8, 6, 4))
    place = jax.jit(traced_on(mesh, spread), in_shardings=replicated(mesh))
    assert place(values).sharding.shard_shape(values.shape) == (2, 6, 4)
    # What is not rows of tokens, rows that do not divide, and no mesh: as it is.
    for other in (jnp.ones((8, 4)), jnp.ones((6, 6, 4))):
        assert "sharding" not in str(jax.make_jaxpr(traced_on(mesh, spread))(other))
    assert spread(values) is values
    assert traced_on(make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1]), spread)(values) is values


def test_weights_are_gathered_and_no_activations_sent():
    """FSDP: a layer sends its weights, forward and backward, and the gradients; nothing of rows."""
    mesh = make_mesh(MeshConfig(1, 8, 1))
    stack = Stack(block=Double, settings={"width": 16}, depth=3, scan=True)
    values = jax.ShapeDtypeStruct((64, 32, 16), jnp.float32)
    boxed = jax.eval_shape(lambda x: stack.init(jax.random.key(0), x, train=False), values)
    shardings = variable_shardings(boxed, mesh)

    def loss(variables, x):
        return stack.apply(variables, x, train=False).mean()

    compiled = (
        jax.jit(
            traced_on(mesh, jax.grad(loss)),
            in_shardings=(shardings, batch_sharding(mesh)),
            out_shardings=shardings,
        )
        .lower(unbox(boxed), values)
        .compile()
    )
    sent = collectives(Program(compiled.as_text()))
    # The largest is of a layer's kernel and bias; rows would be 64 x 32 x 16.
    assert max(one.bytes for one in sent) <= (16 + 1) * 16 * 4, sent


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_on_tpu_a_layer_over_tensor_sends_its_activations_four_times(norm):
    """Also where norms come after sums: the gradients by queries, keys and values are added first.
    (Megatron-LM, Shoeybi et al. 2019.)"""
    pytest.importorskip("libtpu", reason="pip install 'mmjax[tpu-aot]'")
    mesh = topology_mesh("v5e:2x2", MeshConfig(1, 1, 4))
    block = Block(heads=4, mlp_dim=1024, norm=norm)
    values = jax.ShapeDtypeStruct((8, 64, 256), jnp.float32)
    boxed = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, train=False), values)
    placed = (batch_sharding(mesh), variable_shardings(boxed, mesh))

    def loss(x, variables):
        return (spread(block.apply(variables, spread(x), train=False)) ** 2).sum()

    step = jax.jit(
        traced_on(mesh, jax.grad(loss, argnums=(0, 1))), in_shardings=placed, out_shardings=placed
    )
    lowered = step.trace(values, unbox(boxed)).lower(lowering_platforms=("tpu",))
    sent = collectives(Program(lowered.compile(compiler_options=FAST).as_text()))
    assert {one.kind for one in sent} == {"all-reduce"}
    assert sum(one.times * one.bytes for one in sent) == 4 * 8 * 64 * 256 * 4
