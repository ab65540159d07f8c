"""`mmjax embed` of two processes, which share the rows."""

import socket
import subprocess
import sys

import numpy as np
import pytest
import tiny_run

from mmjax.api.run import Run


@pytest.mark.slow
def test_two_processes_write_what_one_does(trained, tmp_path):
    data = tiny_run.write_data(tmp_path, 13, name="corpus", seed=5)
    out = tmp_path / "embeddings.npz"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["embed", str(trained), "--data", str(data), "--out", str(out)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "mmjax", *command],
            env={
                **tiny_run.environment(devices=2),
                "MMJAX_COORDINATOR": f"127.0.0.1:{port}",
                "MMJAX_NUM_PROCESSES": "2",
                "MMJAX_PROCESS_ID": str(process),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in (0, 1)
    ]
    try:
        told = [one.communicate(timeout=300) for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0, 0], told
    assert f"{out}: ids [13]" in told[0][0]
    assert "ids" not in told[1][0]
    with np.load(out) as found, tiny_run.one_device():
        expected = Run(trained).embed(data)
        assert set(found.files) == set(expected)
        np.testing.assert_array_equal(found["ids"], expected["ids"])
        for name in ("text", "image", "fused"):
            np.testing.assert_allclose(found[name], expected[name], atol=2e-6)
