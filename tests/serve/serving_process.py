"""A server of the fake model as a process of its own: `python serving_process.py PORT ...`"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


class Process:
    """A started server; its port once it listens."""

    def __init__(self, *options: str):
        command = [sys.executable, str(HERE / "serving_process.py"), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.log: list[dict] = []
        self.url = self.wait_for("listening")["url"]
        self.port = int(self.url.rpartition(":")[2])

    def wait_for(self, event: str, seconds: float = 30.0) -> dict:
        ends = time.monotonic() + seconds
        stream = self.process.stderr
        while time.monotonic() < ends:
            if select.select([stream], [], [], 0.2)[0]:
                line = stream.readline()
                if not line:
                    break
                self.log.append(json.loads(line))
                if self.log[-1]["event"] == event:
                    return self.log[-1]
        raise AssertionError(f"no '{event}' in {self.log[-5:]}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def main() -> int:
    from fake_program import FakeProgram

    from mmjax.serve.config import EngineConfig, Limits, ServeConfig
    from mmjax.serve.server import serve

    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--warm-up", type=float, default=0.0)
    parser.add_argument("--log-lines", type=float, default=50.0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    args = parser.parse_args()
    return serve(
        lambda: FakeProgram(seconds=args.seconds, warm_up_s=args.warm_up),
        ServeConfig(
            port=0,
            log_lines_s=args.log_lines,
            certificate=args.certificate,
            key=args.key,
            engine=EngineConfig(max_queue=64),
            limits=Limits(header_s=0.5, body_s=0.5),
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
