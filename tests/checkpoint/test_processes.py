import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import two_processes
from states import mesh, on

from mmjax.checkpoint.store import Checkpoints


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_processes_save_restore_and_fail_together_and_one_reads_it(tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    port = free_port()
    script = Path(two_processes.__file__)
    jobs = [
        subprocess.Popen(
            [sys.executable, str(script), str(process), str(port), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]
    try:
        outputs = [job.communicate(timeout=120)[0] for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    for job, output in zip(jobs, outputs, strict=True):
        assert job.returncode == 0, output
        assert output.splitlines()[-1] == "done"
    assert sorted(path.name for path in (tmp_path / "good").glob("[0-9]*")) == [
        "2",
        "3.quarantined",
    ]
    assert sorted(path.name for path in (tmp_path / "failing").glob("[0-9]*")) == ["1"]

    # Saved by two processes of two devices, read by one process on eight and on one.
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for sharding in (on(mesh(data=8), "data"), one):
        target = {"w": jax.ShapeDtypeStruct((64, 64), np.float32, sharding=sharding)}
        checkpoints = Checkpoints(tmp_path / "good", readonly=True)
        found = checkpoints.restore(target, prefixes=("w",)).state["w"]
        assert np.array_equal(np.asarray(found), two_processes.VALUES)
