"""The kernels compiled for an H100 ahead of time, by Triton and ptxas. Nothing runs.

Needs the packages jax-cuda13-plugin and jax-cuda13-pjrt, installed without their dependencies, and
`JAX_PLATFORMS=cpu`: lowering alone does not find what Triton refuses.
"""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from mmjax.kernels.segment_attention import segment_attention

pytestmark = pytest.mark.slow
pytest.importorskip("jax_cuda13_plugin", reason="pip install --no-deps jax-cuda13-plugin")

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 13 }
"""


@pytest.mark.parametrize(
    ("queries", "lengths", "head_dim", "dtype"),
    [
        (64, (50, 197), 64, jnp.bfloat16),
        (70, (20, 600), 80, jnp.float32),
        (512, (1500,), 128, jnp.float32),
    ],
)
def test_output_and_gradients_on_an_h100(queries, lengths, head_dim, dtype):
    found = topologies.get_topology_desc("h100", "cuda", target_config=H100, topology="1x1x1")
    mesh = topologies.make_mesh(found, (1,), ("data",))

    def array(*shape, dtype=dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, P()))

    def run(q, keys, values, masks, cotangent):
        output, back = jax.vjp(lambda *args: segment_attention(*args, masks), q, keys, values)
        return output, *back(cotangent)

    q, segments = array(2, queries, 2, head_dim), [array(2, m, 2, head_dim) for m in lengths]
    masks = [array(2, m, dtype=bool) for m in lengths]
    traced = jax.jit(run).trace(q, segments, segments, masks, q)
    program = traced.lower(lowering_platforms=("cuda",)).compile()
    assert program.as_text().count('custom_call_target="__gpu$xla.gpu.triton"') == 2 + len(lengths)
