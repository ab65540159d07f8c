"""How far a run is, how fast it goes, and what it waits for."""

from __future__ import annotations

import collections
import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO

import rich.console
import rich.live
import rich.progress_bar
import rich.table
import rich.text

from mmjax.writers.console import printable, write_now

_MEMORY_SECONDS = 15.0
"""Time constant of the averages that are shown."""

_FRAME_SECONDS = 0.2


class Meter:
    """Throughput and remaining time from the steps seen so far.

    `rate` (examples a second) and `wait` (share of time waiting for input) are averages that forget
    with a time constant of 15 s. `remaining` (seconds) takes the mean pace since the first update,
    which leaves out compilation and keeps in evaluations; None until a second update.
    """

    def __init__(self, total: int, initial: int, clock: Callable[[], float] = time.monotonic):
        self.total = total
        self.step = initial
        self._clock = clock
        self._first: tuple[float, int] | None = None
        self._last = 0.0
        self._seconds = self._examples = self._waited = 0.0

    def update(self, step: int, examples: int, wait_fraction: float) -> None:
        now = self._clock()
        if self._first is None:
            self._first = (now, step)
        else:
            passed = max(now - self._last, 1e-9)
            keep = math.exp(-passed / _MEMORY_SECONDS)
            self._seconds = keep * self._seconds + passed
            self._examples = keep * self._examples + examples
            self._waited = keep * self._waited + passed * wait_fraction
        self._last = now
        self.step = step

    @property
    def rate(self) -> float | None:
        return self._examples / self._seconds if self._seconds else None

    @property
    def wait(self) -> float | None:
        return self._waited / self._seconds if self._seconds else None

    @property
    def remaining(self) -> float | None:
        if self._first is None or self.step <= self._first[1]:
            return None
        pace = (self._last - self._first[0]) / (self.step - self._first[1])
        return pace * max(0, self.total - self.step)

    def parts(self) -> list[str]:
        """What is known, as short texts; the first is the position."""
        share = self.step / self.total if self.total else 1.0
        found = [f"{self.step:,}/{self.total:,} {share:.0%}"]
        if self.remaining is not None:
            found.append(f"{_clock_time(self.remaining)} left")
        if self.rate:
            found.append(f"{self.rate:,.0f} examples/s" if self.rate >= 10 else _slow(self.rate))
        if self.rate and self.wait is not None:
            found.append(f"input wait {self.wait:.0%}")
        return found


def _slow(rate: float) -> str:
    return f"{rate:.2f} examples/s"


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


class Progress:
    """A context manager that shows progress on `stream` (standard error if None).

    On a terminal or in a notebook: a live bar. Elsewhere: a line at the first and the last update
    and every `every` seconds. Neither ever blocks the caller, whatever becomes of the reader: the
    bar is drawn by a thread, and a line that would block is left out.
    """

    def __init__(
        self,
        total_steps: int,
        initial_step: int = 0,
        title: str = "train",
        *,
        stream: IO[str] | None = None,
        every: float = 10.0,
        enabled: bool = True,
    ):
        self._meter = Meter(total_steps, initial_step)
        self._title = printable(title)
        self._stream = sys.stderr if stream is None else stream
        self._every = every
        self._enabled = enabled
        self._values: dict[str, float] = {}
        self._bar: _Bar | None = None
        self._next_line = 0.0
        self._last_line = initial_step

    def __enter__(self) -> Progress:
        if self._enabled:
            console = rich.console.Console(file=self._stream)
            tty = bool(getattr(self._stream, "isatty", lambda: False)())
            if (tty and not console.is_dumb_terminal) or console.is_jupyter:
                self._bar = _Bar(console, self._title, self._meter)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._enabled and self._meter.step != self._last_line:
            self._write_line()

    def update(
        self,
        step: int,
        *,
        examples: int = 0,
        wait_fraction: float = 0.0,
        values: Mapping[str, float] | None = None,
        total: int | None = None,
    ) -> None:
        """`step` steps are done; the rest is of the time since the last call.

        `total` is how many there will be, where that was not known at the start.
        `examples` were processed, `wait_fraction` of the time went by waiting for input. `values`
        (loss, a validation metric) stay shown until they are given again.
        """
        self._meter.total = self._meter.total if total is None else total
        self._meter.update(step, examples, wait_fraction)
        self._values.update(values or {})
        if self._bar is not None:
            self._bar.text = "   ".join([*self._meter.parts()[1:], *self._shown()])
        elif self._enabled and time.monotonic() >= self._next_line:
            self._write_line()

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._bar is not None:
            self._bar.notes.append(printable(text))
        elif self._enabled:
            write_now(self._stream, text)

    def _shown(self) -> list[str]:
        return [f"{printable(name)} {value:.4g}" for name, value in self._values.items()]

    def _write_line(self) -> None:
        self._next_line = time.monotonic() + self._every
        self._last_line = self._meter.step
        position, *rest = self._meter.parts()
        write_now(self._stream, " | ".join([f"{self._title} {position}", *rest, *self._shown()]))


class _Bar:
    """The live bar: a thread owns the terminal, the caller only leaves it what to draw."""

    def __init__(self, console: rich.console.Console, title: str, meter: Meter):
        self.text = ""
        self.notes: collections.deque[str] = collections.deque(maxlen=1000)
        self._title = title
        self._meter = meter
        self._live = rich.live.Live(
            console=console, auto_refresh=False, get_renderable=self._render
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Draws the last state; a terminal that is stuck is left behind after two seconds."""
        self._stop.set()
        self._thread.join(2.0)

    def _work(self) -> None:
        try:
            with self._live:
                while not self._stop.wait(_FRAME_SECONDS):
                    self._draw()
                self._draw()
        except OSError:  # the terminal is gone; the run is not
            return

    def _draw(self) -> None:
        while self.notes:
            self._live.console.print(rich.text.Text(self.notes.popleft()))
        self._live.refresh()

    def _render(self) -> rich.console.RenderableType:
        line = rich.table.Table.grid(padding=(0, 1), expand=False)
        line.add_row(
            rich.text.Text(self._title, style="bold"),
            rich.progress_bar.ProgressBar(
                total=self._meter.total, completed=self._meter.step, width=36
            ),
            rich.text.Text(self._meter.parts()[0]),
        )
        detail = rich.text.Text(self.text, style="dim", no_wrap=True, overflow="ellipsis")
        return rich.console.Group(line, detail)
