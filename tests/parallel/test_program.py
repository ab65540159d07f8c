"""What a compiled program moves and sends, and what a trace computes, against known ones."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mmjax.parallel import flops
from mmjax.parallel.chips import CHIPS, seconds_on_wire
from mmjax.parallel.collectives import Sent, collectives
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.program import Program, readable, size_of

TEXT = """
%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%sliced (p0: f32[12,8,4], p1: s32[]) -> f32[8,4] {
  %p0 = f32[12,8,4]{2,1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = f32[1,8,4]{2,1,0} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,8,4}
  ROOT %flat = f32[8,4]{1,0} bitcast(%slice)
}

%body (t: (s32[], f32[12,8,4], f32[8,4])) -> (s32[], f32[12,8,4], f32[8,4]) {
  %t = (s32[], f32[12,8,4], f32[8,4]) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %all = f32[12,8,4]{2,1,0} get-tuple-element(%t), index=1
  %x = f32[8,4]{1,0} get-tuple-element(%t), index=2
  %layer = f32[8,4]{1,0} fusion(%all, %i), kind=kLoop, calls=%sliced
  %ar = f32[8,4]{1,0} all-reduce(%layer), channel_id=7, replica_groups=[2,4]<=[8], to_apply=%sum
  ROOT %out = (s32[], f32[12,8,4], f32[8,4]) tuple(%i, %all, %ar)
}

%until (t: (s32[], f32[12,8,4], f32[8,4])) -> pred[] {
  %t = (s32[], f32[12,8,4], f32[8,4]) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %n = s32[] constant(12)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%all-reduce-scatter (p: bf16[16,4]) -> bf16[4,4] {
  %p = bf16[16,4]{1,0} parameter(0)
  %ars = bf16[16,4]{1,0} all-reduce(%p), channel_id=9, replica_groups=[2,4]<=[8], to_apply=%sum
  %here = u32[] partition-id()
  ROOT %part = bf16[4,4]{1,0} dynamic-slice(%ars, %here, %here), dynamic_slice_sizes={4,4}
}

ENTRY %main (w: f32[12,8,4], g: bf16[16,4]) -> f32[8,4] {
  %w = f32[12,8,4]{2,1,0} parameter(0)
  %g = bf16[16,4]{1,0} parameter(1)
  %zero = s32[] constant(0)
  %x = f32[8,4]{1,0:T(8,128)S(1)} broadcast(%zero), dimensions={}
  %t = (s32[], f32[12,8,4], f32[8,4]) tuple(%zero, %w, %x)
  %loop = (s32[], f32[12,8,4], f32[8,4]) while(%t), condition=%until, body=%body
  %rs = bf16[4,4]{1,0} fusion(%g), kind=kCustom, calls=%all-reduce-scatter
  ROOT %found = f32[8,4]{1,0} get-tuple-element(%loop), index=2
}
"""


def test_loops_count_as_often_as_they_turn():
    program = Program(TEXT)
    assert sorted(collectives(program), key=lambda one: one.kind) == [
        Sent("all-reduce", 4, 8 * 4 * 4, 12),
        Sent("reduce-scatter", 4, 4 * 4 * 2, 1),
    ]
    layer = 8 * 4 * 4
    # A turn reads one layer's slice and the counter, and writes the layer; the all-reduce takes and
    # gives one. Before and after: a broadcast into fast memory, and what is scattered.
    turn = (layer + 4 + layer) + 2 * layer
    assert program.bytes_moved() == 12 * turn + 4 + (16 * 4 * 2 + 4 * 4 * 2)
    assert program.largest(1)[0][:2] == (128.0, "f32[8,4]")


def test_what_a_loop_spares_its_last_turn_is_not_counted():
    spared = """%sends (q: f32[8,4]) -> f32[8,4] {
  %q = f32[8,4]{1,0} parameter(0)
  ROOT %sent = f32[8,4]{1,0} collective-permute(%q), channel_id=3, source_target_pairs={{0,1}}
}

%last_iteration_noop.1 (q: f32[8,4]) -> f32[8,4] {
  ROOT %q = f32[8,4]{1,0} parameter(0)
}

%body ("""
    text = TEXT.replace("%body (", spared, 1).replace(
        "  ROOT %out",
        "  %c = f32[8,4]{1,0} conditional(%p, %ar, %ar), true_computation=%sends, "
        "false_computation=%last_iteration_noop.1\n  ROOT %out",
        1,
    )
    found = {one.kind: one.times for one in collectives(Program(text))}
    assert found == {"all-reduce": 12, "collective-permute": 11, "reduce-scatter": 1}


def test_reduce_scatters_of_one_channel_are_several():
    """As the TPU's compiler writes those that it has put together."""
    start, end = TEXT.index("%all-reduce-scatter (p"), TEXT.index("ENTRY")
    other = TEXT[start:end].replace("%all-reduce-scatter", "%all-reduce-scatter.2")
    call = "  %rs2 = bf16[4,4]{1,0} fusion(%g), kind=kCustom, calls=%all-reduce-scatter.2\n"
    text = TEXT[:end] + other + TEXT[end:].replace("  %rs =", call + "  %rs =")
    assert [one.kind for one in collectives(Program(text))].count("reduce-scatter") == 2


def test_loops_may_move_by_more_than_one():
    """A loop that the compiler unrolled counts its turns, of numbers without a sign."""
    moved = "%next = u32[] add(%i, %two)\n  %two = u32[] constant(2)\n  ROOT %out"
    text = TEXT.replace("%n = s32[]", "%n = u32[]").replace("ROOT %out", moved, 1)
    text = text.replace("tuple(%i, %all", "tuple(%next, %all")
    assert sorted(one.times for one in collectives(Program(text))) == [1, 6]
    told = TEXT.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"5"}}')
    assert sorted(one.times for one in collectives(Program(told))) == [1, 5]


def test_sizes_of_types():
    assert size_of("(bf16[2,3]{1,0}, pred[5], s4[8])") == 12 + 5 + 4
    assert size_of("f32[4]{0:T(128)S(1)}", outside=True) == 0
    assert size_of("f8e4m3fn[10]") == 10


def test_names_of_operations():
    name = "jit(step)/transpose(jvp(Model))/Model.run/encoders_image/while/body/mlp/up/dot"
    assert readable(name) == "backward: encoders_image/mlp/up/dot"


def layers(x, w):
    """[8 16] through 5 layers, of which each is computed again in the backward pass."""
    x, _ = jax.lax.scan(jax.checkpoint(lambda x, w: (jnp.tanh(x @ w), None)), x, w)
    return x.sum()


def test_flops_of_a_scan_are_those_of_all_its_turns():
    x, w = jnp.zeros((8, 16)), jnp.zeros((5, 16, 16))
    product = 2 * 8 * 16 * 16
    assert flops.matmul_flops(layers, x, w) == 5 * product
    # Backward: the product again, and one for each of its factors.
    assert flops.matmul_flops(jax.grad(layers, argnums=(0, 1)), x, w) == 5 * product * 4


def test_flops_of_convolutions_branches_and_shard_map():
    image, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 4))

    def conv(a, b):
        return jax.lax.conv_general_dilated(
            a, b, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert flops.matmul_flops(conv, image, kernel) == 2 * (2 * 4 * 4 * 4) * 27
    a = jnp.zeros((8, 8))
    both = jax.lax.cond
    assert flops.matmul_flops(lambda a: both(a[0, 0] > 0, lambda: a @ a, lambda: a), a) == 1024
    mesh = make_mesh(MeshConfig(8, 1, 1))
    split = jax.shard_map(lambda a: a @ a.T, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    assert flops.matmul_flops(split, a) == 8 * 2 * 8


def test_a_compiled_scan_over_split_layers():
    """Layers split over `fsdp` are gathered one a turn, in bytes as many as all layers have."""
    mesh = make_mesh(MeshConfig(1, 8, 1))

    def forward(x, w):
        body = lambda x, w: (jnp.tanh(x @ w), None)  # noqa: E731
        return jax.lax.scan(body, x, w)[0]

    x = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=NamedSharding(mesh, P("fsdp")))
    w = jax.ShapeDtypeStruct(
        (5, 16, 16), jnp.float32, sharding=NamedSharding(mesh, P(None, "fsdp"))
    )
    compiled = jax.jit(forward, out_shardings=NamedSharding(mesh, P("fsdp"))).lower(x, w).compile()
    sent = collectives(Program(compiled.as_text()))
    assert {one.kind for one in sent} == {"all-gather"}
    assert sum(one.times * one.bytes for one in sent) == 5 * 16 * 16 * 4


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("all-gather", 3 / 4),
        ("reduce-scatter", 3),
        ("all-reduce", 6 / 4),
        ("collective-permute", 1),
    ],
)
def test_seconds_of_a_ring_of_four(kind, share):
    assert seconds_on_wire(kind, 4, 1e9, 1e9) == share
    assert seconds_on_wire(kind, 4, 1e9, CHIPS["v5e"].ring) == pytest.approx(share / 100)
