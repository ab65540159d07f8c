"""How a server ends, and comes back: SIGTERM under load, and SIGKILL."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import re
import signal
import time
from collections import Counter
from typing import Any

from benchmarks.serving_processes import ASK, Server, running, serving


def drain(args: argparse.Namespace) -> dict[str, Any]:
    """SIGTERM under load, many times: every request that was sent is answered."""
    rounds = []
    for number in range(args.rounds):
        with running("serving_model", "mmjax", "--depth", "2") as server:
            rounds.append(asyncio.run(_drained(server, 0.3 + 0.02 * number)))
    return {
        "rounds": len(rounds),
        "answered_200": sum(one["statuses"].get(200, 0) for one in rounds),
        "answered_503": sum(one["statuses"].get(503, 0) for one in rounds),
        "other_statuses": sum(
            count
            for one in rounds
            for status, count in one["statuses"].items()
            if status not in (200, 503)
        ),
        "sent": sum(one["sent"] for one in rounds),
        "sent_and_not_answered": sum(one["cut"] for one in rounds),
        "exit_codes": dict(Counter(str(one["code"]) for one in rounds)),
        "slowest_end_s": round(max(one["ended_s"] for one in rounds), 2),
    }


async def _drained(server: Server, after_s: float) -> dict[str, Any]:
    statuses: Counter[int] = Counter()
    cut: list[str] = []
    begun = 0
    stop = asyncio.Event()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    async def client(name: int) -> None:
        nonlocal begun
        number = 0
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            except OSError:  # nobody listens any more
                return
            try:
                while not stop.is_set():
                    number += 1
                    begun += 1
                    key = f"X-Request-Id: c{name}-{number}\r\nContent-Length: {len(ASK)}\r\n\r\n"
                    writer.write(head + key.encode() + ASK)
                    try:
                        start = await reader.readuntil(b"\r\n\r\n")
                        size = int(re.search(rb"content-length: (\d+)", start)[1])
                        await reader.readexactly(size)
                    except (OSError, asyncio.IncompleteReadError):
                        cut.append(f"c{name}-{number}")
                        break
                    status = int(start.split()[1])
                    statuses[status] += 1
                    if status == 503:  # as a load balancer, which asks elsewhere
                        return
                    if b"connection: close" in start:
                        break
            finally:
                writer.close()

    clients = [asyncio.create_task(client(name)) for name in range(32)]
    await asyncio.sleep(after_s)
    server.terminate()
    began = time.monotonic()
    while server.process.poll() is None and time.monotonic() - began < 30:
        await asyncio.sleep(0.02)
    ended = time.monotonic() - began
    stop.set()
    await asyncio.gather(*clients)
    return {
        "statuses": statuses,
        "sent": begun,
        "cut": len(cut),
        "code": server.process.returncode,
        "ended_s": ended,
    }


def restart(args: argparse.Namespace) -> dict[str, Any]:
    """A server killed with SIGKILL under a client: how long until it is ready again, with the
    compilation cache that its start left. After a second death within a minute it would wait."""
    times, cpu, refused = [], [], 0
    for _ in range(3):
        with serving(args.folder) as server:
            (child,) = server.processes()[1:]
            os.kill(child, signal.SIGKILL)
            began = time.monotonic()
            while True:
                try:
                    if server.ask()[0] == 200:
                        break
                except (OSError, http.client.HTTPException):
                    pass
                refused += 1
                time.sleep(0.05)
            times.append(round(time.monotonic() - began, 2))
            cpu.append(round(server.cpu_s(), 2))
    return {"answers_again_s": times, "processor_s": cpu, "asked_in_vain": refused}
