"""Start-up of one process among many, and its end where the others are lost."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import socket
import time
from typing import Any

import jax

from mmjax.core.errors import ConfigError, TransientError
from mmjax.parallel.cluster import Membership, checked, membership

log = logging.getLogger(__name__)

_LOST = re.compile(
    r"connection (closed|reset|refused)|socket closed|peer|heartbeat|unavailable"
    r"|coordination service|deadline_exceeded|aborted|nccl|gloo",
    re.IGNORECASE,
)
"""What the transports say when a process of the job has gone."""

_joined: list[Membership] = []


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout_seconds: float | None = None,
    heartbeat_seconds: float | None = None,
) -> bool:
    """Joins the other processes; returns False (and does nothing) when this one is alone.

    The three values come from the arguments, else from the environment (`cluster.membership`). Must
    run before the first use of a device; a second call does nothing. `timeout_seconds` is how long
    it waits for the coordinator and the others (`MMJAX_INIT_SECONDS`, 300), `heartbeat_seconds` the
    silence after which a process counts as lost, which ends all (`MMJAX_HEARTBEAT_SECONDS`, 30).

    Raises ConfigError where only some of the three are given, and TransientError where the
    coordinator does not answer.
    """
    if jax.distributed.is_initialized():
        return jax.process_count() > 1
    given = _given(coordinator_address, num_processes, process_id)
    found = membership() if given is None else given
    if found is None:
        return False
    timeout = _seconds("MMJAX_INIT_SECONDS", 300, timeout_seconds)
    limits: dict[str, Any] = {
        "initialization_timeout": timeout,
        "heartbeat_timeout_seconds": _seconds("MMJAX_HEARTBEAT_SECONDS", 30, heartbeat_seconds),
    }
    if found.coordinator:
        if found.process:
            # JAX's own waiting ends in an abort that names no address.
            await_coordinator(found, timeout)
        jax.distributed.initialize(
            found.coordinator,
            found.processes,
            found.process,
            local_device_ids=found.local_devices,
            cluster_detection_method="deactivate",
            **limits,
        )
    else:
        jax.distributed.initialize(**limits)
    _joined.append(
        dataclasses.replace(found, processes=jax.process_count(), process=jax.process_index())
    )
    log.info("process %d of %d", jax.process_index(), jax.process_count())
    return True


def joined() -> Membership | None:
    """What `initialize` joined; None for a process alone."""
    return _joined[0] if _joined else None


def _given(address: str | None, processes: int | None, process: int | None) -> Membership | None:
    if address is None:
        return None
    if processes is None or process is None:
        raise ConfigError(
            107,
            f"coordinator_address={address} with num_processes={processes}, process_id={process}",
            fix="give all three, or none",
        )
    return checked(Membership(address, processes, process, "arguments"))


def await_coordinator(found: Membership, timeout: float) -> None:
    """Returns when something listens at the coordinator's address; else TransientError."""
    host, _, port = found.coordinator.rpartition(":")
    address = host.strip("[]"), int(port)
    until = time.monotonic() + timeout
    while True:
        left = until - time.monotonic()
        try:
            socket.create_connection(address, max(min(left, 5.0), 0.1)).close()
            return
        except OSError as error:
            problem = error.strerror or str(error)
        if time.monotonic() + 0.2 >= until:
            break
        time.sleep(0.2)
    raise TransientError(
        711,
        f"nothing answers at the coordinator's address {found.coordinator} after "
        f"{timeout:g} s: {problem}",
        where=f"process {found.process} of {found.processes}, told by {found.told_by}",
        fix="is process 0 running there, and may its port be reached? "
        "MMJAX_INIT_SECONDS waits longer",
    )


def lost_peer(error: BaseException) -> TransientError | None:
    """What an error of the runtime means where a process of the job has gone; None for others."""
    if not _joined or not isinstance(error, jax.errors.JaxRuntimeError):
        return None
    if not _LOST.search(str(error)):
        return None
    return TransientError(
        712,
        "another process of the job is lost: " + " ".join(str(error).split())[:300],
        where=f"process {_joined[0].process} of {_joined[0].processes}",
        fix="run the job again with --resume",
    )


def leave(code: int) -> int:
    """`code`, for a process alone; one of several ends here, without waiting for the others.

    They notice within the heartbeat. At the end of a run, or once it was saved, all wait for each
    other instead.
    """
    if _joined and code not in (0, 42):
        logging.shutdown()
        os._exit(code)
    return code


def _seconds(variable: str, default: int, given: float | None) -> int:
    text = os.environ.get(variable, "") if given is None else str(given)
    try:
        value = float(text or default)
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise ConfigError(107, f"{variable}={text}", fix="seconds, 1 or more")
    return round(value)
