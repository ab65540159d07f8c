"""One of two processes of a job: saves, restores, and fails together.

usage: two_processes.py PROCESS PORT FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from states import abstract, on

from mmjax.checkpoint import orbax_io
from mmjax.checkpoint.store import Checkpoints
from mmjax.core.errors import CheckpointError

VALUES = np.arange(4096, dtype=np.float32).reshape(64, 64)


def refused(act) -> str:
    try:
        act()
    except CheckpointError as error:
        return str(error)
    raise SystemExit("nothing was raised")


def main(process: int, port: int, folder: Path) -> None:
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, process, initialization_timeout=60)
    mesh = jax.make_mesh((2, 2), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    make = jax.jit(
        lambda: {"w": jnp.asarray(VALUES), "copy": jnp.ones(3), "key": jax.random.key(0)},
        out_shardings={"w": on(mesh, "data", "fsdp"), "copy": on(mesh), "key": on(mesh)},
    )
    state = make()
    with Checkpoints(folder / "good", timeout_s=60) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state, data_state={"next_step": step})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 3], checkpoints.steps()
        manifest = checkpoints.manifest(3)
        assert manifest.processes == 2
        assert len(manifest.leaves["w"].shards) == 4
        if process == 0:  # damage the newest
            row = VALUES[0, :32].tobytes()  # the first row of one shard
            files = (path for path in (folder / "good" / "3").rglob("d/*"))
            file = next(path for path in files if row in path.read_bytes())
            data = bytearray(file.read_bytes())
            at = data.find(row)
            data[at] ^= 1
            file.write_bytes(data)
        other = {**abstract(state), "w": abstract(state["w"], on(mesh, "fsdp", None))}
        restored = checkpoints.restore(other)
        assert restored.step == 2
        for shard in restored.state["w"].addressable_shards:
            assert np.array_equal(np.asarray(shard.data), VALUES[shard.index])
        again = checkpoints.restore(abstract(state), step=2)
        assert again.state["w"].sharding == state["w"].sharding

    # Replicas that differ between the processes.
    sharding = on(mesh)
    pieces = [
        jax.device_put(jnp.full((2,), float(process)), device) for device in jax.local_devices()
    ]
    diverged = jax.make_array_from_single_device_arrays((2,), sharding, pieces)
    with Checkpoints(folder / "diverged", timeout_s=60) as checkpoints:
        text = refused(lambda: checkpoints.save(1, {"d": diverged}, data_state={}))
        assert "replicas of 'd'" in text, text
        assert checkpoints.steps() == []

    # One process cannot write: no commit anywhere, and both know.
    with Checkpoints(folder / "failing", timeout_s=10) as checkpoints:
        checkpoints.save(1, state, data_state={})
        checkpoints.wait()
        if process == 1:
            orbax_io.Writer.wait = broken(orbax_io.Writer.wait)
        checkpoints.save(2, state, data_state={})
        text = refused(checkpoints.wait)
        assert "Input/output error" in text, text
        assert checkpoints.steps() == [1]
        assert restored.state is not None
    sys.stdout.write("done\n")
    jax.distributed.shutdown()


def broken(wait):
    def failing(self):
        wait(self)
        raise OSError(5, "Input/output error")

    return failing


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
