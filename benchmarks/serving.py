"""What a server bears: throughput beside others, load beyond its capacity, and how it ends.

    python -m benchmarks.serving throughput overload compare
    python -m benchmarks.serving drain slow
    python -m benchmarks.serving restart fuzz schema triton --folder OUT

Load comes from `hey` (apt install hey) on the same machine, to 127.0.0.1 alone. `compare` needs
litserve and uvicorn, `schema` schemathesis, `triton` tritonclient[http]. Each part writes its
result into `results/serving.json`; `results/serving.md` is made of all of them. Speed is given a
second of the wall and a second of the server's processor: on a shared machine the second tells.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import numpy as np

from benchmarks import serving_ends, serving_faults, serving_tables
from benchmarks.harness import RESULTS
from benchmarks.machine import about
from benchmarks.serving_processes import ASK, Server, running
from mmjax.core.files import read_json, write_json
from mmjax.writers.console import say

_CLIENTS = 64
_SECONDS = 10


@dataclasses.dataclass(frozen=True)
class Load:
    """What clients saw: statuses, and seconds until each answer by status."""

    seconds: float
    statuses: dict[int, int]
    latencies: dict[int, np.ndarray]
    cpu_s: float
    """Processor seconds of the server."""

    def rate(self, status: int = 200) -> float:
        return self.statuses.get(status, 0) / self.seconds

    def ms(self, share: float, status: int = 200) -> float:
        found = self.latencies.get(status, np.zeros(0))
        return round(1000 * float(np.quantile(found, share)), 1) if len(found) else float("nan")

    def row(self) -> dict[str, Any]:
        served = self.statuses.get(200, 0)
        return {
            "requests_s": round(self.rate(), 1),
            "requests_cpu_s": round(served / self.cpu_s, 1),
            "p50_ms": self.ms(0.5),
            "p99_ms": self.ms(0.99),
            "statuses": {str(one): count for one, count in sorted(self.statuses.items())},
        }


def load(
    server: Server, *, clients: int = _CLIENTS, rate: float | None = None, groups: int = 1
) -> Load:
    """`clients` at once for some seconds, each with a `rate` of requests a second if it is given.

    The clients of one `hey` send at the same moments; `groups` of them begin one after the other
    within the time between two requests of a client.
    """
    command = ["hey", "-z", f"{_SECONDS}s", "-c", str(clients // groups), "-t", "30", "-o", "csv"]
    if rate is not None:
        command += ["-q", f"{rate:.4f}"]
    command += ["-m", "POST", "-T", "application/json", "-d", ASK.decode()]
    command.append(f"{server.url}/v1/predict")
    before = server.cpu_s()
    asking = []
    for _ in range(groups):
        asking.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        time.sleep(1 / (groups * rate) if rate else 0)
    tables = [one.communicate()[0] for one in asking]
    cpu_s = server.cpu_s() - before
    if any(one.returncode for one in asking):
        raise SystemExit("hey failed")
    by_status: dict[int, list[float]] = {}
    seconds = 0.0
    for row in (row for table in tables for row in csv.DictReader(io.StringIO(table))):
        by_status.setdefault(int(row["status-code"]), []).append(float(row["response-time"]))
        seconds = max(seconds, float(row["offset"]) + float(row["response-time"]))
    return Load(
        seconds,
        {status: len(found) for status, found in by_status.items()},
        {status: np.array(found) for status, found in by_status.items()},
        cpu_s,
    )


def throughput(args: argparse.Namespace) -> dict[str, Any]:
    """Dynamic batching beside one by one, and 70 % of capacity."""
    with running("serving_model", "mmjax", "--max-batch", "1") as server:
        alone = load(server)
    with running("serving_model", "mmjax") as server:
        together = load(server)
        size = server.metric("mmjax_batch_size_sum") / server.metric("mmjax_batch_size_count")
        compiles = server.metric("mmjax_compiles_total")
        most = load(server, rate=0.7 * together.rate() / _CLIENTS)
        new = server.metric("mmjax_compiles_total") - compiles
    errors = sum(count for status, count in most.statuses.items() if status != 200)
    return {
        "one_by_one": alone.row(),
        "batched": {**together.row(), "mean_batch": round(size, 1)},
        "times_a_second": round(together.rate() / alone.rate(), 2),
        "times_a_cpu_second": round(
            together.row()["requests_cpu_s"] / alone.row()["requests_cpu_s"], 2
        ),
        "at_70_percent": {**most.row(), "errors": errors, "compiles": int(new)},
    }


_QUEUE = 64
_GROUPS = 8
_DEPTHS = (8, 40, 80)
"""Layers of the model under three times its capacity: one server process takes in and refuses some
thousand requests a second, whatever a model can answer."""


def overload(args: argparse.Namespace) -> dict[str, Any]:
    """Three times the capacity of a light model and of heavier ones."""
    return {f"{depth} layers": _overload(depth) for depth in _DEPTHS}


def _overload(depth: int) -> dict[str, Any]:
    """As many clients as fill the queue and a batch wait for answers; the rate is that of the 128
    others, who are refused."""
    others = 128
    clients = _QUEUE + 32 + others
    options = ("--max-queue", str(_QUEUE), "--depth", str(depth))
    with running("serving_model", "mmjax", *options) as server:
        capacity = load(server, clients=_QUEUE)
        rate = 3 * capacity.rate() / others
        before = server.metrics()
        most = load(server, clients=clients, rate=rate, groups=_GROUPS)
        within = server.metrics() - before
        health, late = _watched(server, clients, rate)
    shed = most.latencies.get(429, np.zeros(0))
    return {
        "capacity": capacity.row(),
        "offered_s": round(3 * capacity.rate(), 1),
        "sent_s": round(sum(most.statuses.values()) / most.seconds, 1),
        "served": most.row(),
        "share_of_capacity_served": round(most.rate() / capacity.rate(), 3),
        "share_of_cpu_rate": round(
            most.row()["requests_cpu_s"] / capacity.row()["requests_cpu_s"], 3
        ),
        "shed": len(shed),
        "shed_within_50_ms": round(float((shed <= 0.05).mean()), 4) if len(shed) else None,
        "shed_p50_ms": most.ms(0.5, 429),
        "shed_p99_ms": most.ms(0.99, 429),
        # From headers to answer, by the server's own clock.
        "shed_within_1_ms_at_the_server": _share(within, "mmjax_shed_seconds", "0.001"),
        "shed_within_50_ms_at_the_server": _share(within, "mmjax_shed_seconds", "0.05"),
        # What comes to the event loop waits for as long as the loop is late.
        "loop_late_by_at_most_5_ms": _share(within, "mmjax_loop_late_seconds", "0.005"),
        "loop_late_by_at_most_50_ms": _share(within, "mmjax_loop_late_seconds", "0.05"),
        "health_p99_ms": round(1000 * float(np.quantile(health, 0.99)), 1),
        # What a process that does nothing waits for its processor: the machine's part in the rest.
        "sleep_late_p99_ms": round(1000 * float(np.quantile(late, 0.99)), 1),
    }


def _share(metrics: Counter[str], name: str, bound: str) -> float | None:
    """The share of a histogram's values that are at most `bound`."""
    count = metrics[f"{name}_count"]
    return round(metrics[f'{name}_bucket{{le="{bound}"}}'] / count, 4) if count else None


def _watched(server: Server, clients: int, rate: float) -> tuple[list[float], list[float]]:
    """Seconds of health checks under load, and how late this process wakes from its sleep."""
    health, late = [], []
    command = ["hey", "-z", "4s", "-c", str(clients), "-q", f"{rate:.4f}", "-m", "POST"]
    command += ["-T", "application/json", "-d", ASK.decode(), f"{server.url}/v1/predict"]
    asking = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while asking.poll() is None:
        began = time.perf_counter()
        if server.get("/v2/health/live")[0] != 200:
            raise SystemExit("the server is not live under load")
        health.append(time.perf_counter() - began)
        began = time.perf_counter()
        time.sleep(0.05)
        late.append(time.perf_counter() - began - 0.05)
    return health, late


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """The same model behind three servers, one after the other."""
    found: dict[str, Any] = {}
    for name, module, options in (
        ("mmjax", "serving_model", ("mmjax",)),
        ("LitServe, batched", "serving_litserve", ()),
        ("LitServe, one by one", "serving_litserve", ("--max-batch", "1")),
        ("FastAPI handler", "serving_model", ("fastapi",)),
    ):
        with running(module, *options) as server:
            found[name] = {
                "clients_64": load(server).row(),
                "clients_1": load(server, clients=1).row(),
                "memory_mb": round(server.memory_mb()),
            }
    return found


PARTS = {
    "throughput": throughput,
    "overload": overload,
    "compare": compare,
    "drain": serving_ends.drain,
    "restart": serving_ends.restart,
    "slow": serving_faults.slow,
    "fuzz": serving_faults.fuzz,
    "schema": serving_faults.schema,
    "triton": serving_faults.triton,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument(
        "--folder", help="what mmjax export wrote, for restart, fuzz, schema and triton"
    )
    parser.add_argument("--requests", type=int, default=10_000, help="of fuzz")
    parser.add_argument("--rounds", type=int, default=20, help="of drain")
    args = parser.parse_args()
    path = RESULTS / "serving.json"
    results = read_json(path) if path.is_file() else {}
    for name in args.parts:
        say(f"{name} ...")
        results[name] = {"about": about(), **PARTS[name](args)}
        write_json(path, results)
        say(results[name])
    serving_tables.write(results, RESULTS / "serving.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
