"""What is counted in a compiled program's text: known programs, and the ways XLA writes them."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mmjax.api.compiled import gathered
from mmjax.parallel.chips import CHIPS
from mmjax.parallel.collectives import (
    SLICES,
    Sent,
    axes_by_size,
    collectives,
    count,
    count_by_axis,
)
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.program import Program

TEXT = """
ENTRY %main (p: f32[4]) -> f32[2] {
  %p = f32[4]{0} parameter(0), metadata={op_name="x = all-reduce(y)"}
  %all-reduce.1 = f32[8,196]{1,0:T(8,128)} all-reduce(%a), channel_id=1, replica_groups=[2,4]<=[8], to_apply=%add
  %ar = (f32[256]{0}, /*index=1*/f32[]) all-reduce(%b, %c), replica_groups=mesh['axis_0'=2,'axis_1'=1,'axis_3'=4] {'axis_0','axis_1'}, to_apply=%add
  %ag = (f32[2]{0}, bf16[8,3]{1,0}) all-gather-start(%d), replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
  %ag.done = bf16[8,3]{1,0} all-gather-done(%ag)
  ROOT %rs = f32[2]{0} reduce-scatter(%d), replica_groups=mesh['axis_0'=4,'axis_1'=2], device_ids=([2,4]T(1,0)) {'axis_1'}, dimensions={0}
  %cp = f32[5]{0} collective-permute(%e), source_target_pairs={{0,1},{1,0}}
  %fusion.all-reduce = f32[5]{0} fusion(%all-reduce.1), kind=kLoop, calls=%all-reduce-fusion
}
"""  # noqa: E501


def test_what_xla_writes_is_read():
    sent = collectives(Program(TEXT))
    assert sent == [
        Sent("all-reduce", 4, 8 * 196 * 4, 1),
        Sent("all-reduce", 2, 257 * 4, 1),
        Sent("all-gather", 4, 24 * 2, 1),
        Sent("reduce-scatter", 2, 2 * 4, 1),
        Sent("collective-permute", 0, 5 * 4, 1),
    ]
    assert count(sent) == {
        "all-reduce": 2,
        "all-gather": 1,
        "reduce-scatter": 1,
        "collective-permute": 1,
    }
    assert count_by_axis(sent, {"data": 2, "fsdp": 1, "tensor": 4}) == {
        "tensor": {"all-reduce": 1, "all-gather": 1},
        "data": {"all-reduce": 1, "reduce-scatter": 1},
        "other": {"collective-permute": 1},
    }
    assert set(count_by_axis(sent, {"data": 4, "tensor": 4})) == {"data or tensor", "other"}


def test_axes_are_told_by_the_size_of_their_groups():
    assert axes_by_size({"data": 2, "fsdp": 4, "tensor": 1}) == {
        2: "data",
        4: "fsdp",
        8: "data x fsdp",
        SLICES: "slices",
    }
    assert axes_by_size({"data": 2, "fsdp": 1, "tensor": 2}) == {
        2: "data or tensor",
        4: "all",
        SLICES: "slices",
    }


def test_what_goes_between_slices_is_read():
    """As the TPU's compiler writes it: handed to the host, which knows the other slices."""
    sends = """
ENTRY %main (p: f32[2,4]) -> f32[2,4] {
  %p = f32[2,4]{1,0} parameter(0)
  %t = token[] after-all()
  %send.1 = (f32[2,4]{1,0}, u32[], token[]) send(%p, %t), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_megascale_reduce_operation="SUM",_xla_megascale_target="{1,2}x{0:15}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %other = (f32[9]{0}, u32[], token[]) send(%p, %t), channel_id=3, is_host_transfer=true
}
"""  # noqa: E501
    sent = collectives(Program(sends))
    assert sent == [Sent("all-reduce", SLICES, 32, 1)]
    (told,) = gathered(sent, {"data": 8, "fsdp": 2}, CHIPS["v5e"], slices=2)
    assert told.axis == "slices"
    assert told.seconds == pytest.approx(2 * 1 / 2 * 32 / CHIPS["v5e"].network)


@pytest.mark.parametrize(
    ("left", "right", "out", "expected"),
    [
        (P(None, "tensor"), P("tensor", None), P(), {"tensor": {"all-reduce": 1}}),
        (P("data", None), P(None, "tensor"), P("data", "tensor"), {}),
        (P("tensor", None), P(), P(), {"tensor": {"all-gather": 1}}),
        (P(None, ("data", "tensor")), P(("data", "tensor"), None), P(), {"all": {"all-reduce": 1}}),
    ],
)
def test_of_a_matrix_product(left, right, out, expected):
    """A contraction over a split axis is one all-reduce, a split result that is asked for whole
    one all-gather, and a product of split rows with split columns needs nothing."""
    mesh = make_mesh(MeshConfig(2, 1, 4))
    arrays = [
        jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=NamedSharding(mesh, spec))
        for spec in (left, right)
    ]
    compiled = jax.jit(jnp.matmul, out_shardings=NamedSharding(mesh, out)).lower(*arrays).compile()
    sent = collectives(Program(compiled.as_text()))
    assert count_by_axis(sent, mesh.shape) == expected
