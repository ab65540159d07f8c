"""What must be set before jax is imported: eight virtual CPU devices, and cheap compilation.

`JAX_PLATFORMS` is respected, so `JAX_PLATFORMS=cuda pytest -m gpu` runs on the accelerator.
"""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

from jaxtyping import install_import_hook

_CACHE = Path(__file__).resolve().parents[1] / ".cache" / "jax"

_CPU_FLAGS = {
    "xla_force_host_platform_device_count": "8",
    # Compiling is most of what these tests cost: both together take it to a third, and running
    # with other rounding than the default finds what depends on it.
    "xla_backend_optimization_level": "0",
}
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    # Later ones have nothing but emitters, and stop at a flag that they do not know.
    _CPU_FLAGS["xla_cpu_use_fusion_emitters"] = "false"

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if os.environ["JAX_PLATFORMS"] == "cpu":
    given = os.environ.get("XLA_FLAGS", "")
    added = [f"--{name}={value}" for name, value in _CPU_FLAGS.items() if name not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *added]).strip()
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

# Annotations of array shapes hold at every call, from here on. Not in metrics, whose functions
# refuse wrong shapes with errors of their own.
install_import_hook(
    [f"mmjax.{room}" for room in ("kernels", "nn", "encoders", "fusion", "tasks", "models")],
    "beartype.beartype",
)
