"""Which of the processes of a job this one is, read from the environment.

To add a kind of cluster: a function that reads its variables, and its name in `READERS`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from mmjax.core.errors import ConfigError

_TPU_PORT = 8482
"""JAX's own, of a TPU's coordinator."""
_ORTE = "OMPI_MCA_orte_hnp_uri"


@dataclasses.dataclass(frozen=True)
class Membership:
    """A process's place in its job."""

    coordinator: str
    """host:port that process 0 listens at; empty where JAX is to find all of it by itself."""
    processes: int
    process: int
    told_by: str
    local_devices: tuple[int, ...] | None = None
    """The devices of this host that are this process's; all if None."""


def membership(environment: Mapping[str, str] | None = None) -> Membership | None:
    """The first that the environment tells, None for a process alone.

    `MMJAX_COORDINATOR` with `MMJAX_NUM_PROCESSES` and `MMJAX_PROCESS_ID` come first (the same with
    `JAX_COORDINATOR_ADDRESS` and `JAX_`); an indexed job of Kubernetes may leave the number of the
    process to `JOB_COMPLETION_INDEX`. Then SLURM's, Open MPI's, and those of a TPU pod;
    `MMJAX_CLUSTER=auto` leaves it all to JAX, `none` trains alone whatever the variables say.
    Raises ConfigError where only some of the three are given, or do not fit each other.
    """
    environment = os.environ if environment is None else environment
    asked = environment.get("MMJAX_CLUSTER", "")
    if asked not in ("", "auto", "none"):
        raise ConfigError(107, f"MMJAX_CLUSTER={asked}", fix="auto, none, or not set")
    if asked:
        return Membership("", 0, 0, "MMJAX_CLUSTER=auto") if asked == "auto" else None
    for read in READERS:
        found = read(environment)
        if found is not None:
            return found if found.processes != 1 else None
    return None


def _named(environment: Mapping[str, str]) -> Membership | None:
    for prefix, address in (
        ("MMJAX_", "MMJAX_COORDINATOR"),
        ("JAX_", "JAX_COORDINATOR_ADDRESS"),
    ):
        coordinator = environment.get(address, "")
        if coordinator:
            identity = f"{prefix}PROCESS_ID"
            if identity not in environment and "JOB_COMPLETION_INDEX" in environment:
                identity = "JOB_COMPLETION_INDEX"
            processes = _number(environment, f"{prefix}NUM_PROCESSES", address)
            process = _number(environment, identity, address)
            return checked(Membership(coordinator, processes, process, f"{prefix}* variables"))
    return None


def _slurm(environment: Mapping[str, str]) -> Membership | None:
    """A task that srun started; the batch script itself, which has no number, is alone."""
    if "SLURM_PROCID" not in environment or "SLURM_STEP_NODELIST" not in environment:
        return None
    processes = int(environment.get("SLURM_NTASKS", "1"))
    if processes == 1:
        return None
    # The numbers between which Linux gives ports out end at 60999.
    port = 61001 + int(environment.get("SLURM_JOB_ID", "0")) % 4096
    nodes = environment["SLURM_STEP_NODELIST"]
    return Membership(
        f"{_first_host(nodes)}:{port}",
        processes,
        int(environment["SLURM_PROCID"]),
        "SLURM",
        _local_devices(environment, "SLURM_LOCALID", environment.get("SLURM_TASKS_PER_NODE", "1")),
    )


def _first_host(nodes: str) -> str:
    """`node001` of "node[001-015,020],host2"."""
    head, bracket, rest = nodes.partition("[")
    if "," in head or not bracket:
        return head.split(",")[0]
    return head + rest.replace("-", ",").replace("]", ",").split(",")[0]


def _local_devices(
    environment: Mapping[str, str], local: str, tasks_per_node: str
) -> tuple[int, ...] | None:
    """One device where a host has several of the job's processes, each of which sees all."""
    several = any(not part.startswith("1(") and part != "1" for part in tasks_per_node.split(","))
    bound = len(environment.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")) == 1
    return (int(environment[local]),) if several and not bound and local in environment else None


def _open_mpi(environment: Mapping[str, str]) -> Membership | None:
    """Version 4 names the launcher's host; with others JAX is left to ask mpi4py, if it can."""
    processes = int(environment.get("OMPI_COMM_WORLD_SIZE", "1"))
    if processes == 1:
        return None
    # Such as 1531576320.0;tcp://10.96.0.1,10.148.0.1:34911, or tcp6://[fe80::1,2620::2]:43370.
    told = re.match(r"(\d+)\..*?(?:tcp://([^,:]+)|tcp6://\[([^,\]]+))", environment.get(_ORTE, ""))
    if told is None:
        return Membership("", 0, 0, "Open MPI")
    job, host, host6 = told.groups()
    on_host = environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1")
    return Membership(
        f"{host or f'[{host6}]'}:{61001 + int(job) // 4096 % 4096}",
        processes,
        int(environment["OMPI_COMM_WORLD_RANK"]),
        "Open MPI",
        _local_devices(environment, "OMPI_COMM_WORLD_LOCAL_RANK", on_host),
    )


def _tpu_pod(environment: Mapping[str, str]) -> Membership | None:
    """The pods of one or several slices on GKE, whose first one coordinates."""
    workers = environment.get("TPU_WORKER_HOSTNAMES", "").split(",")
    several = environment.get("MEGASCALE_COORDINATOR_ADDRESS", "")
    if len(workers) == 1 and not several:
        return None
    if not (workers[0] and environment.get("TPU_WORKER_ID", "").isdecimal()):
        return Membership("", 0, 0, "TPU pod")
    slices = int(environment.get("MEGASCALE_NUM_SLICES") or 1)
    before = int(environment.get("MEGASCALE_SLICE_ID") or 0) * len(workers)
    first = (several or workers[0]).split(":")[0]
    return Membership(
        f"{first}:{_TPU_PORT}",
        len(workers) * slices,
        before + int(environment["TPU_WORKER_ID"]),
        "TPU pod",
    )


READERS = (_named, _slurm, _open_mpi, _tpu_pod)


def checked(found: Membership) -> Membership:
    """Raises ConfigError unless the address has a port and the process is one of those counted."""
    if not found.coordinator.rpartition(":")[2].isdecimal():
        raise ConfigError(
            107, f"the coordinator '{found.coordinator}' has no port", fix="host:port"
        )
    if not 0 <= found.process < found.processes:
        raise ConfigError(
            107,
            f"process {found.process} of {found.processes}",
            where=found.told_by,
            fix="processes are counted from 0",
        )
    return found


def _number(environment: Mapping[str, str], variable: str, beside: str) -> int:
    value = environment.get(variable, "")
    if not value.isdecimal():
        raise ConfigError(
            107,
            f"{variable}={value} is not a number" if value else f"{variable} is not set",
            where=f"beside {beside}",
            fix="MMJAX_COORDINATOR=host:port MMJAX_NUM_PROCESSES=2 MMJAX_PROCESS_ID=0, or 1",
        )
    return int(value)
