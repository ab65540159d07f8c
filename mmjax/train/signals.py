"""Orderly stops: a signal asks, the loop answers at the next step border."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

from mmjax.train.job import Pace

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

_SHOW_CURSOR = b"\x1b[?25h\n"


class StopSignals:
    """While entered, the first stop signal sets `asked`; a second one exits at once with 143."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def agreed(self, border: bool, pace: Pace) -> str:
        """The signal that stops every process of the job at this step; empty if none does.

        One process answers at every step. Several must stop at the same one, and ask each other
        at a `border` only, where they wait for the devices anyway; there they also tell each other
        their pace.
        """
        asked = self.asked
        if jax.process_count() > 1:
            if not border:
                return ""
            told = np.asarray([asked or 0, *pace.own()], np.float32)
            with jax.transfer_guard("allow"):
                found = np.asarray(multihost_utils.process_allgather(told))
            pace.compare(found[:, 1].tolist(), float(found[:, 2].max()))
            asked = signal.Signals(int(found[:, 0].max())) if found[:, 0].any() else None
        return asked.name if asked is not None else ""

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.asked is not None:
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)  # the progress bar hid it
            os._exit(143)
        self.asked = signal.Signals(number)
        # The signal may have come in the middle of a write to the same stream.
        with contextlib.suppress(RuntimeError):
            log.warning("%s: saving at the end of this step, then stopping", self.asked.name)
