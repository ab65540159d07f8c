import os
import socket
import subprocess
import sys
import time

import jax
import pytest

from mmjax.core.errors import ConfigError, TransientError
from mmjax.parallel import distributed
from mmjax.parallel.cluster import Membership, membership
from mmjax.parallel.distributed import initialize

PREFIXES = (
    "MMJAX_",
    "JAX_COORD",
    "JAX_NUM",
    "JAX_PROCESS",
    "SLURM_",
    "OMPI_",
    "MEGASCALE_",
    "TPU_",
)
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_TASKS_PER_NODE": "1(x2)",
    "SLURM_STEP_NODELIST": "node[003-004],x9",
}


PODS = {"TPU_WORKER_HOSTNAMES": "t0,t1"}
SLICES = {
    "MEGASCALE_COORDINATOR_ADDRESS": "run-0-0.run:8081",
    "MEGASCALE_NUM_SLICES": "2",
    "MEGASCALE_SLICE_ID": "1",
}
ORTE = "OMPI_MCA_orte_hnp_uri"
MPI = {
    ORTE: "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}


@pytest.fixture
def joined(monkeypatch):
    """What jax was asked to join, without joining it; every coordinator answers."""
    calls = []
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    monkeypatch.setattr(distributed, "await_coordinator", lambda *_: None)
    monkeypatch.setattr(distributed, "_joined", [])
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        monkeypatch.delenv(name)
    return calls


@pytest.mark.parametrize(
    "variables",
    [
        {},
        # The batch script of a job of two, which is no task of it.
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"},
        {**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        {"MMJAX_CLUSTER": "none", **SLURM},
        {"TPU_WORKER_HOSTNAMES": "localhost"},
        {"MMJAX_COORDINATOR": "a:1", "MMJAX_NUM_PROCESSES": "1", "MMJAX_PROCESS_ID": "0"},
    ],
)
def test_alone_it_does_nothing(joined, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert initialize() is False
    assert joined == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (SLURM, ("node003:61008", 2, 1, None)),
        ({**SLURM, "SLURM_STEP_NODELIST": "n1,n2"}, ("n1:61008", 2, 1, None)),
        # Several tasks of one host each take a device, unless SLURM gave each its own.
        ({**SLURM, "SLURM_TASKS_PER_NODE": "2"}, ("node003:61008", 2, 1, (0,))),
        (
            {**SLURM, "SLURM_TASKS_PER_NODE": "2", "CUDA_VISIBLE_DEVICES": "3"},
            ("node003:61008", 2, 1, None),
        ),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "b:2",
                "JAX_NUM_PROCESSES": "3",
                "JAX_PROCESS_ID": "2",
            },
            ("b:2", 3, 2, None),
        ),
        # An indexed job of Kubernetes.
        (
            {
                "MMJAX_COORDINATOR": "run-workers-0-0.run:1234",
                "MMJAX_NUM_PROCESSES": "4",
                "JOB_COMPLETION_INDEX": "3",
            },
            ("run-workers-0-0.run:1234", 4, 3, None),
        ),
        ({"TPU_WORKER_HOSTNAMES": "t0,t1"}, ("", 0, 0, None)),
        ({"MEGASCALE_COORDINATOR_ADDRESS": "t0"}, ("", 0, 0, None)),
        ({**PODS, "TPU_WORKER_ID": "1"}, ("t0:8482", 2, 1, None)),
        # Two slices of two: the first pod of the first one.
        ({**PODS, **SLICES, "TPU_WORKER_ID": "1"}, ("run-0-0.run:8482", 4, 3, None)),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, ("", 0, 0, None)),
        (MPI, ("10.96.0.1:62185", 4, 2, None)),
        ({**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, ("10.96.0.1:62185", 4, 2, (0,))),
        ({**MPI, ORTE: "4096.0;tcp6://[fe80::b9b,2620::2]:43"}, ("[fe80::b9b]:61002", 4, 2, None)),
        ({"MMJAX_CLUSTER": "auto"}, ("", 0, 0, None)),
    ],
)
def test_clusters_tell_a_process_its_place(variables, expected):
    found = membership(variables)
    told = (found.coordinator, found.processes, found.process, found.local_devices)
    assert told == expected


def test_limits_come_from_the_environment(joined, monkeypatch):
    monkeypatch.setenv("MMJAX_CLUSTER", "auto")
    assert initialize() is True
    assert joined[0] == ((), {"initialization_timeout": 300, "heartbeat_timeout_seconds": 30})
    monkeypatch.setenv("MMJAX_HEARTBEAT_SECONDS", "12")
    assert initialize(timeout_seconds=5) is True
    assert joined[1] == ((), {"initialization_timeout": 5, "heartbeat_timeout_seconds": 12})
    monkeypatch.setenv("MMJAX_INIT_SECONDS", "soon")
    with pytest.raises(ConfigError, match="MMJAX_INIT_SECONDS=soon"):
        initialize()


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("b:2",), "num_processes=None"),
        (("b", 2, 0), "'b' has no port"),
        (("b:2", 2, 2), "process 2 of 2"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(joined, arguments, message):
    with pytest.raises(ConfigError, match=message):
        initialize(*arguments)


def test_a_coordinator_that_is_down_is_named(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(TransientError, match=f"{address} after 1 s: Connection refused") as told:
        initialize(address, 2, 1, timeout_seconds=1)
    assert time.monotonic() - began < 3
    assert told.value.exit_code == 75
    assert "process 1 of 2" in str(told.value)


def test_an_error_of_the_transport_is_one_that_may_pass(monkeypatch):
    lost = jax.errors.JaxRuntimeError(
        "INTERNAL: Gloo AllReduce: Connection closed by peer [1.2.3.4]"
    )
    bug = jax.errors.JaxRuntimeError("INVALID_ARGUMENT: shapes differ")
    assert distributed.lost_peer(lost) is None
    monkeypatch.setattr(distributed, "_joined", [Membership("a:1", 2, 0, "arguments")])
    assert distributed.lost_peer(lost).exit_code == 75
    assert distributed.lost_peer(bug) is None
    assert distributed.lost_peer(ValueError("connection closed")) is None


PROCESS = """
import numpy as np
from mmjax.parallel.distributed import initialize
assert initialize(timeout_seconds=60)
import jax
from mmjax.core.types import Batch
from mmjax.parallel.feeding import batch_part
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
print(jax.process_count(), jax.device_count())
for sizes in ((-1, 2, 1), (2, 1, 2), (1, 1, 4)):
    mesh = make_mesh(MeshConfig(*sizes))
    part, parts = batch_part(mesh)
    rows = np.arange(8, dtype=np.int32).reshape(parts, -1)[part]
    whole = put_batch(Batch({}, {}, {}, rows >= 0, rows), mesh).row
    assert whole.shape == (8,)
    total = jax.jit(lambda row: (row * np.arange(8)).sum())(whole)
    print(part, parts, int(total))
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
        for index, process in enumerate(processes):
            out, error = process.communicate(timeout=120)
            assert process.returncode == 0, error
            # Where `tensor` runs over both, each brings the whole batch.
            parts = [(index, 2), (index, 2), (0, 1)]
            squares = sum(i * i for i in range(8))
            told = [f"{part} {count} {squares}" for part, count in parts]
            assert [line for line in out.splitlines() if line[0].isdigit()] == ["2 4", *told]
    finally:
        for process in processes:
            process.kill()
