"""Start-up of one process among many."""

from __future__ import annotations

import logging
import os

import jax

from mmjax.core.errors import ConfigError

log = logging.getLogger(__name__)

_CLUSTER_VARIABLES = ("SLURM_JOB_ID", "OMPI_COMM_WORLD_SIZE", "MEGASCALE_COORDINATOR_ADDRESS")


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout_seconds: int = 300,
) -> bool:
    """Joins the other processes; returns False (and does nothing) when this one is alone.

    The three values come from the arguments, else from `MMJAX_COORDINATOR`, `MMJAX_NUM_PROCESSES`
    and `MMJAX_PROCESS_ID`, else from the cluster that JAX detects (SLURM with more than one task,
    Open MPI, multislice TPU). Must run before the first use of a device. Raises ConfigError where
    only some of the three are given.
    """
    address = coordinator_address or os.environ.get("MMJAX_COORDINATOR")
    if address is None:
        tasks = int(os.environ.get("SLURM_NTASKS", "1"))
        detected = any(name in os.environ for name in _CLUSTER_VARIABLES)
        if not detected or ("SLURM_JOB_ID" in os.environ and tasks < 2):
            return False
        jax.distributed.initialize(initialization_timeout=timeout_seconds)
    else:
        if num_processes is None:
            num_processes = _number("MMJAX_NUM_PROCESSES")
        if process_id is None:
            process_id = _number("MMJAX_PROCESS_ID")
        jax.distributed.initialize(
            address, num_processes, process_id, initialization_timeout=timeout_seconds
        )
    log.info("process %d of %d", jax.process_index(), jax.process_count())
    return True


def _number(variable: str) -> int:
    value = os.environ.get(variable, "")
    if not value.isdecimal():
        raise ConfigError(
            107,
            f"{variable}={value} is not a number" if value else f"{variable} is not set",
            where="beside MMJAX_COORDINATOR",
            fix="MMJAX_COORDINATOR=host:port MMJAX_NUM_PROCESSES=2 MMJAX_PROCESS_ID=0, or 1",
        )
    return int(value)
