"""Objectives that couple rows, in two processes: the step of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import objectives_together
import pytest
import tiny_run


@pytest.mark.slow
def test_two_processes_make_the_step_of_one():
    """Loss, gradients, sums, sampled negatives, and the queue, in micro-batches and chunks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tests = Path(__file__).parents[1]
    common = {
        **tiny_run.environment(devices=2),
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests / "models")]),
        "MMJAX_COORDINATOR": f"127.0.0.1:{port}",
        "MMJAX_NUM_PROCESSES": "2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, objectives_together.__file__],
            env={**common, "MMJAX_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        # Compiled here meanwhile.
        expected = objectives_together.one_step(jax.devices()[:1])
        for process in processes:
            out, error = process.communicate(timeout=120)
            assert process.returncode == 0, error
            found = json.loads(out.splitlines()[-1])
            assert found.pop("queue") == expected["queue"]
            for name, value in found.items():
                assert value == pytest.approx(expected[name], rel=2e-6, abs=1e-6), name
    finally:
        for process in processes:
            process.kill()
