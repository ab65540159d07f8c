"""The kernels compiled for TPU ahead of time, and the memory that they spare. Nothing runs."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mmjax.kernels.attention import attention
from mmjax.parallel.collectives import collectives
from mmjax.parallel.mesh import MeshConfig, traced_on
from mmjax.parallel.program import Program

pytestmark = pytest.mark.slow
pytest.importorskip("libtpu", reason="pip install 'mmjax[tpu-aot]'")


def compiled(topology, config, rows, heads, queries, lengths, head_dim, dtype, backend=None):
    """Output and gradients of attention over segments, each device with its rows and heads."""
    from mmjax.parallel.topology import FAST, topology_mesh

    mesh = topology_mesh(topology, config)

    def array(length):
        sharding = NamedSharding(mesh, P("data", None, "tensor"))
        return jax.ShapeDtypeStruct((rows, length, heads, head_dim), dtype, sharding=sharding)

    def run(q, keys, values, masks, cotangent):
        def of(q, keys, values):
            return attention(q, keys, values, mask=masks, backend=backend)[0]

        output, back = jax.vjp(of, q, keys, values)
        return output, *back(cotangent)

    of_mask = NamedSharding(mesh, P("data"))
    masks = tuple(jax.ShapeDtypeStruct((rows, 1, 1, m), bool, sharding=of_mask) for m in lengths)
    segments = tuple(map(array, lengths))
    traced = jax.jit(traced_on(mesh, run)).trace(
        array(queries), segments, segments, masks, array(queries)
    )
    return traced.lower(lowering_platforms=("tpu",)).compile(compiler_options=FAST)


@pytest.mark.parametrize(
    ("queries", "lengths", "head_dim", "dtype"),
    [
        (512, (1500, 197), 64, jnp.bfloat16),
        (70, (20, 600), 80, jnp.bfloat16),
        (1024, (2048,), 64, jnp.float32),
        (256, (4800,), 128, jnp.float32),
    ],
)
def test_on_one_chip(queries, lengths, head_dim, dtype):
    """It fits the vector memory, and what it keeps grows with the lengths, not their product."""
    options = (2, 4, queries, lengths, head_dim, dtype, "segments")
    program = compiled("v5e:1x1", MeshConfig(1, 1, 1), *options)
    assert program.as_text().count('custom_call_target="tpu_custom_call"') == 2 + len(lengths)
    logits = 4 * 2 * 4 * queries * sum(lengths)
    operands = 2 * 4 * (queries + 2 * sum(lengths)) * 128 * 4
    temporary = program.memory_analysis().temp_size_in_bytes
    assert temporary < 6 * operands
    if logits > 4 * operands:
        assert temporary < logits / 2


def test_on_eight_chips_without_a_collective():
    program = compiled("v5e:2x4", MeshConfig(2, 1, 4), 8, 4, 512, (50, 197), 64, jnp.bfloat16)
    assert "tpu_custom_call" in program.as_text()
    assert collectives(Program(program.as_text())) == []
