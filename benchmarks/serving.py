"""What a server bears: throughput beside others, load beyond its capacity, and how it ends.

    python -m benchmarks.serving throughput overload compare
    python -m benchmarks.serving drain slow
    python -m benchmarks.serving restart fuzz schema triton --folder OUT

Load comes from `h2load` (apt install nghttp2-client) on the same machine, to 127.0.0.1 alone.
`compare` needs litserve and uvicorn, `schema` schemathesis, `triton` tritonclient[http]. Each part
writes its result into `results/serving.json`; `results/serving.md` is made of all of them. Speed is
given a second of the wall, the first two left out while queues fill, and a second of the server's
processor: on a shared machine the second tells.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
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
_SETTLES = 2


@dataclasses.dataclass(frozen=True)
class Load:
    """What clients saw, by status: answers, when they came, and the seconds they took."""

    ended: dict[int, np.ndarray]
    latencies: dict[int, np.ndarray]
    cpu_s: float
    """Processor seconds of the server."""

    @property
    def statuses(self) -> dict[int, int]:
        return {status: len(found) for status, found in self.ended.items()}

    def rate(self, status: int | None = 200) -> float:
        """Answers a second, of one status or all, once the queue is as full as it gets."""
        ended = np.concatenate(
            [np.zeros(0), *(t for s, t in self.ended.items() if status in (None, s))]
        )
        within = (ended >= _SETTLES) & (ended < _SECONDS)
        return float(within.sum()) / (_SECONDS - _SETTLES)

    def cpu_rate(self) -> float:
        return self.statuses.get(200, 0) / self.cpu_s

    def ms(self, share: float, status: int = 200) -> float:
        found = self.latencies.get(status, np.zeros(0))
        return round(1000 * float(np.quantile(found, share)), 1) if len(found) else float("nan")

    def row(self) -> dict[str, Any]:
        return {
            "requests_s": round(self.rate(), 1),
            "requests_cpu_s": round(self.cpu_rate(), 1),
            "p50_ms": self.ms(0.5),
            "p99_ms": self.ms(0.99),
            "statuses": {str(one): count for one, count in sorted(self.statuses.items())},
        }


def load(
    server: Server, *, clients: int = _CLIENTS, rate: float | None = None, groups: int = 1
) -> Load:
    """`clients` at once for some seconds, each with a `rate` of requests a second if it is given.

    The clients of one `h2load` send at the same moments; `groups` of them begin one after the other
    within the time between two requests of a client. Who waits for an answer sends afterwards what
    it could not send meanwhile, so that the rate holds whatever the server does.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, logs = Path(folder) / "ask.json", [Path(folder) / str(k) for k in range(groups)]
        body.write_bytes(ASK)
        asking = []
        before = server.cpu_s()
        for log in logs:
            asking.append(_h2load(server, body, log, clients // groups, rate))
            time.sleep(1 / (groups * rate) if rate else 0)
        if any(one.wait() for one in asking):
            raise SystemExit("h2load failed")
        cpu_s = server.cpu_s() - before
        began, status, took = np.concatenate([np.loadtxt(log, ndmin=2) for log in logs]).T
    ended = (began - began.min() + took) / 1e6
    codes = [int(one) for one in np.unique(status)]
    return Load(
        {one: ended[status == one] for one in codes},
        {one: took[status == one] / 1e6 for one in codes},
        cpu_s,
    )


def _h2load(
    server: Server, body: Path, log: Path, clients: int, rate: float | None
) -> subprocess.Popen[bytes]:
    command = ["h2load", "--h1", "-t", "1", "-D", str(_SECONDS), "-c", str(clients)]
    command += ["--rps", f"{rate:.4f}"] if rate is not None else []
    command += ["-d", str(body), "-H", "content-type: application/json"]
    command += ["--log-file", str(log), f"{server.url}/v1/predict"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


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
        "times_a_cpu_second": round(together.cpu_rate() / alone.cpu_rate(), 2),
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
    """As many clients as fill the queue and a batch wait for answers, and 128 others are refused.

    A shared machine's speed changes within a minute, so capacity is measured before and after.
    """
    clients = _QUEUE + 32 + 128
    options = ("--max-queue", str(_QUEUE), "--depth", str(depth))
    with running("serving_model", "mmjax", *options) as server:
        capacity = load(server, clients=_QUEUE)
        rate = 3 * capacity.rate() / clients
        before = server.metrics()
        with _watching(server) as (health, late):
            most = load(server, clients=clients, rate=rate, groups=_GROUPS)
        within = server.metrics() - before
        again = load(server, clients=_QUEUE)
    shed = most.latencies.get(429, np.zeros(0))
    return {
        "capacity": capacity.row(),
        "offered_s": round(3 * capacity.rate(), 1),
        "sent_s": round(most.rate(None), 1),
        "served": most.row(),
        "capacity_afterwards": again.row(),
        "share_of_capacity_served": round(2 * most.rate() / (capacity.rate() + again.rate()), 3),
        "share_of_cpu_rate": round(
            2 * most.cpu_rate() / (capacity.cpu_rate() + again.cpu_rate()), 3
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


@contextlib.contextmanager
def _watching(server: Server) -> Iterator[tuple[list[float], list[float]]]:
    """Seconds of health checks meanwhile, and how late a thread wakes from its sleep."""
    health: list[float] = []
    late: list[float] = []
    ends = threading.Event()

    def watch() -> None:
        while not ends.is_set():
            began = time.perf_counter()
            status = server.get("/v2/health/live")[0]
            health.append(time.perf_counter() - began if status == 200 else math.inf)
            began = time.perf_counter()
            time.sleep(0.05)
            late.append(time.perf_counter() - began - 0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield health, late
    finally:
        ends.set()
        watching.join()


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
