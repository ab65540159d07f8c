"""What the front of one server shares: settings, engine, measures, log and the bodies in memory."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable

from mmjax.export.program import Program
from mmjax.serve.bodies import Bodies
from mmjax.serve.config import ServeConfig
from mmjax.serve.engine import Engine
from mmjax.serve.lane import Lane
from mmjax.serve.logs import Lines
from mmjax.serve.measures import Measures

_LOOK_S = 0.1


class Service:
    """One server. `load` gives what it serves."""

    def __init__(
        self, load: Callable[[], Program], config: ServeConfig, *, lines: Lines | None = None
    ):
        self.config = config
        self.measures = Measures()
        self.engine = Engine(load, config.engine, watcher=self.measures)
        self.measures.follow(self.engine)
        self.lines = lines or Lines(
            rate=config.log_lines_s, dropped=self.measures.lines_dropped.inc
        )
        self.bodies = Bodies(config.limits)
        self.entering = Lane()
        self.in_flight = 0
        """Requests between their headers and the end of their answer."""
        self.asked_at = 0.0
        """When the last request came, by the clock of the event loop."""
        self.leaving = False
        """Whether SIGTERM has come."""
        self._tokens = [hashlib.sha256(token.encode()).digest() for token in config.tokens]

    def knows(self, token: str) -> bool:
        """Whether a token opens the server; takes as long for any token."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        # Every one is compared, so that the time says nothing of which it was.
        same = [hmac.compare_digest(digest, known) for known in self._tokens]
        return any(same)

    @property
    def ready(self) -> bool:
        return self.engine.ready and not self.leaving

    async def watch_loop(self) -> None:
        """Measures how late the event loop is, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LOOK_S
            await asyncio.sleep(_LOOK_S)
            self.measures.loop_late.observe(loop.time() - due)

    async def drain(self) -> bool:
        """Says no to ready at once, and waits for what was accepted; False if some is left."""
        loop = asyncio.get_running_loop()
        self.leaving = True
        self.lines.write("draining", urgent=True, in_flight=self.in_flight)
        if self.config.linger_s:
            await asyncio.sleep(self.config.linger_s)
        ends = loop.time() + self.config.grace_s
        done = await self.engine.drain(self.config.grace_s)
        while self.in_flight and loop.time() < ends:
            await asyncio.sleep(0.01)
        done = done and not self.in_flight
        self.lines.write("drained" if done else "cut short", urgent=True, in_flight=self.in_flight)
        return done
