"""A parent that starts the server again when it dies, passes signals on, and is nothing else."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from mmjax.writers.console import write_now

FINAL = frozenset({0, 2, 3, 75, 130, 143})
"""Exit codes that another start would not change, or that were asked for."""

_PARENT_DEATH = 1
_LONG_LIFE_S = 60.0
_MOST_STARTS = 8
_MOST_WAIT_S = 15.0


def supervise(command: Sequence[str]) -> int:
    """Runs a command until it ends for good; its exit code.

    SIGTERM and SIGINT go to the command, which ends in its own time. After SIGHUP it ends so too,
    and is started again: what a pointer names is served then. A command that dies otherwise is
    started again: at once, then after 1, 2, 4, ... seconds, and after 8 short lives no more.
    """
    child: subprocess.Popen[bytes] | None = None
    asked = anew = False

    def forward(number: int, frame: Any) -> None:
        nonlocal asked, anew
        anew = number == signal.SIGHUP
        asked = asked or not anew
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)

    # At a terminal a hangup says that it was closed, and the server ends with it.
    terminal = sys.stdin is not None and sys.stdin.isatty()
    heard = [signal.SIGTERM, signal.SIGINT, *([] if terminal else [signal.SIGHUP])]
    old = {one: signal.signal(one, forward) for one in heard}
    short = 0
    # With an arena a thread, what decoders free is seldom given back to the system.
    environment = {"MALLOC_ARENA_MAX": "2", **os.environ}
    try:
        while True:
            began = time.monotonic()
            # A group of its own, so that Ctrl-C comes through here alone.
            child = subprocess.Popen(list(command), start_new_session=True, env=environment)
            if asked:
                child.send_signal(signal.SIGTERM)
            code = child.wait()
            if anew and not asked:
                anew = False
                _tell("serving anew", code)
                continue
            if code in FINAL or asked:
                return code if code >= 0 else 128 - code
            short = 0 if time.monotonic() - began > _LONG_LIFE_S else short + 1
            if short >= _MOST_STARTS:
                _tell("given up", code)
                return 1
            _tell("restarting", code)
            _wait(min(2.0 ** (short - 2), _MOST_WAIT_S) if short > 1 else 0.0, lambda: asked)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Asks Linux to send SIGTERM to this process when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGTERM)
        if os.getppid() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def _tell(event: str, code: int) -> None:
    write_now(sys.stderr, json.dumps({"event": event, "exit_code": code}))


def _wait(seconds: float, done: Any) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not done():
        time.sleep(0.05)
