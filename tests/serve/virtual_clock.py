"""An event loop whose clock runs only while nothing is left to do, and threads that are timers."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Instead of waiting for a timer, puts the clock to it."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and no timer is set")
        self.loop.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class Thread(Executor):
    """Runs calls one after the other, each for the virtual seconds that `takes` says."""

    def __init__(self, loop: VirtualLoop, takes: Callable[..., float]):
        self._loop, self._takes, self._free = loop, takes, 0.0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        self._free = max(self._free, self._loop.now) + self._takes(fn, args)

        def finish() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self._loop.call_at(self._free, finish)
        return future


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> Any:
    """What `main(loop)` gives, at no time at all."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
