"""Servers under test as processes of their own: started, watched, asked, and ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ASK = json.dumps({"inputs": {"text": "a small red apple on an old tree"}}).encode()
JSON = {"Content-Type": "application/json"}
_ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A started server; `log` is what it wrote to standard error."""

    def __init__(self, command: Sequence[str], port: int):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._log = tempfile.NamedTemporaryFile("w+b", suffix=".log", delete=False)  # noqa: SIM115
        environment = {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
            "OMP_NUM_THREADS": "1",
            **os.environ,
        }
        self.process = subprocess.Popen(
            list(command),
            cwd=_ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
        )

    def wait_until(self, ready: Any, seconds: float = 300.0) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ready():
                    return
            time.sleep(0.2)
        raise SystemExit(f"the server did not start: {self.log()[-2000:]}")

    def ask(
        self,
        method: str = "POST",
        path: str = "/v1/predict",
        body: bytes | None = ASK,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, JSON if headers is None else headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes]:
        return self.ask("GET", path, None, {})

    def metrics(self) -> Counter[str]:
        """Every metric by its name and labels."""
        lines = self.get("/metrics")[1].decode().splitlines()
        found = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return Counter({name: float(value) for name, _, value in found})  # type: ignore[misc]

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return sum(value for one, value in self.metrics().items() if one.startswith(name))

    def processes(self) -> list[int]:
        """This process and those below it."""
        found, todo = [], [self.process.pid]
        while todo:
            found.append(todo.pop())
            for children in Path(f"/proc/{found[-1]}/task").glob("*/children"):
                todo += map(int, children.read_text().split())
        return found

    def cpu_s(self) -> float:
        """Processor seconds so far."""
        fields = [Path(f"/proc/{one}/stat").read_text().split() for one in self.processes()]
        return sum(int(one[13]) + int(one[14]) for one in fields) / _TICKS

    def memory_mb(self) -> float:
        sizes = [
            line.split()[1]
            for one in self.processes()
            for line in Path(f"/proc/{one}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        ]
        return sum(map(int, sizes)) / 1024

    def log(self) -> str:
        return Path(self._log.name).read_text(errors="replace")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        if self.process.poll() is None:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        # Some servers leave workers behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        Path(self._log.name).unlink(missing_ok=True)


@contextlib.contextmanager
def running(module: str, *options: str) -> Iterator[Server]:
    """`python -m benchmarks.MODULE ...`, once it answers a request."""
    port = free_port()
    server = Server(
        [sys.executable, "-m", f"benchmarks.{module}", *options, "--port", str(port)], port
    )
    try:
        server.wait_until(lambda: server.ask()[0] == 200)
        yield server
    finally:
        server.end()


@contextlib.contextmanager
def serving(folder: str, *options: str) -> Iterator[Server]:
    """`mmjax serve FOLDER`, once it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "mmjax", "serve", folder, "--port", str(port), *options]
    server = Server(command, port)
    try:
        server.wait_until(lambda: server.get("/v2/health/ready")[0] == 200)
        yield server
    finally:
        server.end()
