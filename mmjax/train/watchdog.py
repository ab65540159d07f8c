"""A run that hangs is ended, saying where it hung."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time

from mmjax.core.errors import ConfigError, TransientError

log = logging.getLogger(__name__)

VARIABLE = "MMJAX_HANG_SECONDS"
_DEFAULT = 1800.0


_watching: list[Watchdog] = []


def alive() -> None:
    """Tells the watchdog, if one is watching, that what takes long goes on: a batch is done."""
    for watchdog in _watching:
        watchdog.defer()


class Watchdog:
    """Ends the process with 75 where, while entered, no sign of life comes for `seconds`.

    Before it does, the stacks of all threads go to standard error. Signs are `beat`, at each step
    border, and `alive`; what comes before the first border, compiling among it, has ten times as
    long. `seconds` is the value of
    `MMJAX_HANG_SECONDS` if None, half an hour by default; 0 never ends anything.
    """

    def __init__(self, seconds: float | None = None):
        self.seconds = _asked() if seconds is None else seconds
        self._step = 0
        self._until = 0.0
        self._done = threading.Event()

    def __enter__(self) -> Watchdog:
        if self.seconds:
            self._until = time.monotonic() + 10 * self.seconds
            _watching.append(self)
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self in _watching:
            _watching.remove(self)

    def beat(self, step: int) -> None:
        """After `step` steps all is well."""
        self._step = step
        self._until = time.monotonic() + self.seconds

    def defer(self) -> None:
        """All is well, within a step."""
        self._until = max(self._until, time.monotonic() + self.seconds)

    def _watch(self) -> None:
        while not self._done.wait(max(min(self._until - time.monotonic(), 10.0), 0.01)):
            if time.monotonic() >= self._until:
                self._end()

    def _end(self) -> None:
        error = TransientError(
            713,
            f"no step for {self.seconds:g} s after step {self._step}: the run hangs",
            where="the stacks above",
            fix=f"--resume goes on from the last checkpoint; {VARIABLE} waits longer, 0 for ever",
        )
        # Descriptors and not streams: whoever hangs may hold their locks.
        faulthandler.dump_traceback(2, all_threads=True)
        os.write(2, f"{error}\n".encode())
        os._exit(error.exit_code)


def _asked() -> float:
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text or _DEFAULT)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < sys.maxsize:
        raise ConfigError(106, f"{VARIABLE}={text}", fix="seconds, 0 for never")
    return seconds
