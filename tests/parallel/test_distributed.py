import os
import socket
import subprocess
import sys

import jax
import pytest

from mmjax.core.errors import ConfigError
from mmjax.parallel.distributed import initialize

VARIABLES = (
    "MMJAX_COORDINATOR",
    "MMJAX_NUM_PROCESSES",
    "MMJAX_PROCESS_ID",
    "SLURM_JOB_ID",
    "SLURM_NTASKS",
    "OMPI_COMM_WORLD_SIZE",
    "MEGASCALE_COORDINATOR_ADDRESS",
)


@pytest.fixture
def joined(monkeypatch):
    """What jax was asked to join, without joining it."""
    calls = []
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return calls


def test_alone_it_does_nothing(joined, monkeypatch):
    assert initialize() is False
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert initialize() is False
    assert joined == []


def test_the_cluster_is_detected(joined, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert initialize(timeout_seconds=5) is True
    assert joined == [((), {"initialization_timeout": 5})]


def test_arguments_come_before_the_environment(joined, monkeypatch):
    monkeypatch.setenv("MMJAX_COORDINATOR", "a:1")
    monkeypatch.setenv("MMJAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("MMJAX_PROCESS_ID", "3")
    assert initialize() is True
    assert initialize("b:2", 8, 0) is True
    assert [args for args, _ in joined] == [("a:1", 4, 3), ("b:2", 8, 0)]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "MMJAX_NUM_PROCESSES is not set"),
        ({"MMJAX_NUM_PROCESSES": "two"}, "MMJAX_NUM_PROCESSES=two is not a number"),
        ({"MMJAX_NUM_PROCESSES": "2"}, "MMJAX_PROCESS_ID is not set"),
        ({"MMJAX_NUM_PROCESSES": "2", "MMJAX_PROCESS_ID": "-1"}, "=-1 is not a number"),
    ],
)
def test_what_is_missing_beside_the_coordinator_is_named(joined, monkeypatch, variables, message):
    monkeypatch.setenv("MMJAX_COORDINATOR", "a:1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        initialize()
    assert joined == []


PROCESS = """
import numpy as np
from mmjax.parallel.distributed import initialize
assert initialize(timeout_seconds=60)
import jax
from mmjax.core.types import Batch
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
mesh = make_mesh(MeshConfig(-1, 2, 1))
rows = np.arange(4, dtype=np.int32) + 4 * jax.process_index()
whole = put_batch(Batch({}, {}, {}, rows >= 0, rows), mesh).row
assert whole.shape == (8,)
total = jax.jit(lambda row: (row * np.arange(8)).sum())(whole)
print(jax.process_count(), jax.device_count(), int(total))
"""


def test_two_processes_put_one_global_batch_on_one_mesh():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    common = {"MMJAX_COORDINATOR": address, "MMJAX_NUM_PROCESSES": "2", "XLA_FLAGS": flags}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS],
            env={**os.environ, **common, "MMJAX_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        for process in processes:
            out, error = process.communicate(timeout=120)
            assert process.returncode == 0, error
            assert out.splitlines()[-1] == f"2 4 {sum(i * i for i in range(8))}"
    finally:
        for process in processes:
            process.kill()
