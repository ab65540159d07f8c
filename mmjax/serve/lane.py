"""Work of many requests, a piece in each pass of the event loop.

What is ready together would run in one pass, and whoever comes meanwhile waits for all of it: a
burst of accepted requests would hold up the refusals behind it, which should come at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Lane:
    """Calls what it is given in order, one in each pass of the event loop."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()

    def put(self, call: Callable[[], None]) -> None:
        """`call` is called in a pass of its own; it must not raise."""
        self._calls.append(call)
        if len(self._calls) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    async def turn(self) -> None:
        """Comes back when it is this caller's turn."""
        turn = asyncio.get_running_loop().create_future()
        self.put(lambda: None if turn.done() else turn.set_result(None))
        await turn

    def _next(self) -> None:
        call = self._calls.popleft()
        if self._calls:
            asyncio.get_running_loop().call_soon(self._next)
        call()
