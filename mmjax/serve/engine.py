"""Raw items in, answers out: bounded, batched, with deadlines. It knows no sockets.

An engine lives in one event loop. Items are prepared by a few threads, and the model runs in one of
its own, so the loop stays free to refuse, to expire and to say that it lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Literal

from mmjax.core.errors import MMJaxError
from mmjax.export.program import Example, Prepared, Program, Result
from mmjax.serve.batcher import Batcher, Ticket
from mmjax.serve.config import EngineConfig
from mmjax.serve.errors import ServeError, retry
from mmjax.serve.filtering import filtered, named
from mmjax.serve.lane import Lane
from mmjax.serve.running import padding, run_batch
from mmjax.serve.watching import Watcher

State = Literal["loading", "ready", "failing", "draining", "stopped"]

log = logging.getLogger(__name__)
_END: Any = object()
_MOST_SECONDS = 60
_PATIENCE = 10.0


class Engine:
    """A program that is asked by many at once.

    `load` gives the program; it is called in the model's thread by `start`. Tests give executors of
    their own, and a loop with a clock of its own.
    """

    def __init__(
        self,
        load: Callable[[], Program],
        config: EngineConfig | None = None,
        *,
        watcher: Watcher | None = None,
        model_thread: Executor | None = None,
        prepare_threads: Executor | None = None,
    ):
        self.config = config or EngineConfig()
        self.watcher = watcher or Watcher()
        self._filter = named(self.config.filter) if self.config.filter else None
        self._load = load
        self._program: Program | None = None
        self._state: State = "loading"
        self._model = model_thread or ThreadPoolExecutor(1, "mmjax-model")
        self._prepare = prepare_threads or ThreadPoolExecutor(
            self.config.prepare_threads, "mmjax-prepare"
        )
        self._batcher = Batcher(max_batch=1, max_delay=0)
        self._answers = Lane()
        self._waiting = self._places = self._active = self._streams = self._failures = 0
        self._busy_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._seconds_an_item = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def program(self) -> Program:
        """What is served; raises ServeError while it is loading."""
        if self._program is None:
            raise retry(812, "the model is loading", 5)
        return self._program

    @property
    def state(self) -> State:
        failing = self._state == "ready" and self._failures >= self.config.failures
        return "failing" if failing else self._state

    @property
    def ready(self) -> bool:
        return self.state == "ready"

    @property
    def live(self) -> bool:
        """False once a batch has been in the model for longer than any should."""
        if self._busy_since is None:
            return True
        return asyncio.get_running_loop().time() - self._busy_since < self.config.stuck_s

    @property
    def waiting(self) -> int:
        """Items that are accepted and not yet in the model."""
        return self._waiting

    @property
    def active(self) -> int:
        """Requests that have been accepted and not yet answered."""
        return self._active

    async def start(self) -> None:
        """Loads the program and compiles all of it; raises what loading raises."""
        loop = asyncio.get_running_loop()
        program = await loop.run_in_executor(self._model, self._load)
        self._program = program
        most = max(program.batch_sizes)
        self._batcher = Batcher(
            max_batch=min(self.config.max_batch or most, most),
            max_delay=self.config.max_delay_ms / 1000,
        )
        await loop.run_in_executor(self._model, program.warm_up)
        if self._state == "loading":
            self._state = "ready"

    def refusal(self, rows: int = 1) -> ServeError | None:
        """Why `rows` more items would be refused now; None if they would be taken."""
        if self._program is None or self._state == "loading":
            return retry(812, "the model is loading", 5)
        if self._state in ("draining", "stopped"):
            return retry(812, "the server is stopping", 5)
        if rows > self.config.max_queue:
            return ServeError(808, f"{rows} items at once", fix=f"at most {self.config.max_queue}")
        if self._waiting + self._places + rows > self.config.max_queue:
            seconds = math.ceil(self._seconds_an_item * self._waiting)
            return retry(811, "the queue is full", min(max(1, seconds), _MOST_SECONDS))
        return None

    def place(self) -> Place:
        """Keeps a place of the queue for a request that is still being read; see `refusal`."""
        self._places += 1
        return Place(self)

    async def predict(
        self,
        examples: Sequence[Example],
        *,
        deadline_s: float | None = None,
        place: Place | None = None,
    ) -> list[Result | MMJaxError]:
        """Of each item its result, or the error that is its alone.

        Raises ServeError if all are refused. Cancelling it takes out what has not been computed.
        A `place` is given back for the items' own.
        """
        self._admit(len(examples), place)
        try:
            deadline = self._deadline(deadline_s)
            if len(examples) == 1:
                return [await self._one(examples[0], deadline)]
            return await asyncio.gather(*(self._one(one, deadline) for one in examples))
        finally:
            self._leave()

    async def stream(
        self, example: Example, *, deadline_s: float | None = None, place: Place | None = None
    ) -> AsyncGenerator[str, None]:
        """Pieces of a text as it is written, each before a deadline of its own.

        Batches and other streams go through the model between two pieces. Raises MMJaxError.
        """
        if self._streams >= self.config.max_streams:
            self.watcher.shed("streams", 1)
            raise retry(811, f"{self._streams} texts are being written", 1)
        self._admit(1, place)
        loop, pieces = asyncio.get_running_loop(), None
        self._streams += 1
        try:
            async with self._before(self._deadline(deadline_s)):
                prepared = await loop.run_in_executor(self._prepare, self.program.prepare, example)
                pieces = await loop.run_in_executor(self._model, self.program.stream, prepared)
            if self._filter is not None:
                yield await self._whole(example, pieces, self._deadline(deadline_s))
                return
            while True:
                async with self._before(self._deadline(deadline_s)):
                    piece = await loop.run_in_executor(self._model, next, pieces, _END)
                if piece is _END:
                    return
                yield piece
        except MMJaxError as error:
            self.watcher.failed(error.code)
            raise
        except Exception as error:
            log.exception("the model failed while it wrote")
            self.watcher.failed(814)
            raise ServeError(814, "the model failed") from error
        finally:
            # A generator may only be closed by the thread that runs it.
            if pieces is not None and hasattr(pieces, "close"):
                with contextlib.suppress(RuntimeError):  # the threads are gone already
                    self._model.submit(pieces.close)
            self._streams -= 1
            self._leave()

    async def drain(self, grace_s: float) -> bool:
        """Takes no more items and waits for those that it has; False if some are left."""
        self._state = "draining"
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Lets go of the threads."""
        self._state = "stopped"
        self._model.shutdown(wait=False, cancel_futures=True)
        self._prepare.shutdown(wait=False, cancel_futures=True)

    def _admit(self, rows: int, place: Place | None) -> None:
        if place is not None:
            place.leave()
        refused = self.refusal(rows)
        if refused is not None:
            self.watcher.shed("queue" if refused.code == 811 else "state", rows)
            raise refused
        self._active += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._active -= 1
        if not self._active:
            self._idle.set()

    def _deadline(self, seconds: float | None) -> float:
        most = self.config.deadline_s
        return asyncio.get_running_loop().time() + min(most if seconds is None else seconds, most)

    def _before(self, deadline: float) -> _Before:
        return _Before(deadline, self.watcher)

    async def _one(self, example: Example, deadline: float) -> Result | MMJaxError:
        loop = asyncio.get_running_loop()
        began, ticket = loop.time(), None
        self._waiting += 1
        try:
            async with self._before(deadline):
                prepared = await loop.run_in_executor(self._prepare, self.program.prepare, example)
                now = loop.time()
                self.watcher.stage("prepare", now - began)
                ticket = Ticket(prepared, prepared.bucket, now, deadline, loop.create_future())
                self._batcher.add(ticket)
                self._pump()
                answer = await ticket.answer
                if isinstance(answer, Result):
                    answer = await self._filtered(example, answer)
        except MMJaxError as error:
            answer = error
        except asyncio.CancelledError:
            self.watcher.shed("gone", 1)
            raise
        except Exception:
            log.exception("an item could not be prepared")
            answer = ServeError(816, "the item could not be prepared")
        finally:
            if ticket is None or self._batcher.remove(ticket):
                self._waiting -= 1
        if isinstance(answer, MMJaxError):
            self.watcher.failed(answer.code)
        return answer

    async def _filtered(self, example: Example, result: Result) -> Result | MMJaxError:
        if self._filter is None:
            return result
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._prepare, filtered, self._filter, example, result)

    async def _whole(self, example: Example, pieces: Iterator[str], deadline: float) -> str:
        """A text at once: a filter sees none of it before all of it is there."""
        loop = asyncio.get_running_loop()
        async with self._before(deadline):
            # Piece by piece, so that batches go through the model in between.
            text = ""
            while True:
                piece = await loop.run_in_executor(self._model, next, pieces, _END)
                if piece is _END:
                    break
                text += piece
            answer = await self._filtered(example, Result({}, {"text": text}))
        if isinstance(answer, MMJaxError):
            raise answer
        return str(answer.answer["text"])

    def _pump(self) -> None:
        """Sends the next batch off if the model is free and one is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._busy_since is not None:
            return
        loop = asyncio.get_running_loop()
        held = len(self._batcher)
        coming = self._places + self._waiting > held
        batch = self._batcher.take(loop.time(), patience=self._patience(coming))
        # Those that are past their deadline are dropped by `take`, and wait no more.
        self._waiting -= held - len(self._batcher)
        if batch:
            self._launch(batch)
            return
        due = self._batcher.next_due()
        if due is not None:
            # Those that are coming may go without a word, so they are looked for again.
            again = loop.time() + self.config.max_delay_ms / 1000
            self._timer = loop.call_at(max(due, again) if coming else due, self._pump)

    def _patience(self, coming: bool) -> float:
        """How long an item waits for others, in delays.

        While others have arrived that are not prepared yet it is long, so that a burst goes
        together rather than its first item alone; whoever has the server alone waits for nobody.
        """
        if coming:
            return _PATIENCE
        return 0.0 if self._active <= 1 else 1.0

    def _launch(self, batch: list[Ticket]) -> None:
        loop = asyncio.get_running_loop()
        now = self._busy_since = loop.time()
        for ticket in batch:
            self.watcher.stage("queue", now - ticket.arrived)
        items: list[Prepared] = [ticket.item for ticket in batch]
        self.watcher.batch(*padding(self.program, items))
        running = loop.run_in_executor(self._model, run_batch, self.program, items)
        running.add_done_callback(functools.partial(self._finish, batch))

    def _finish(self, batch: list[Ticket], running: asyncio.Future) -> None:
        took = asyncio.get_running_loop().time() - (self._busy_since or 0.0)
        self._busy_since = None
        if running.cancelled():
            answers: list[Any] = [retry(812, "the server is stopping", 5)] * len(batch)
        else:
            answers = running.result()
        self.watcher.stage("run", took)
        self._seconds_an_item = 0.9 * self._seconds_an_item + 0.1 * took / len(batch)
        failed = all(isinstance(answer, Exception) for answer in answers)
        self._failures = self._failures + 1 if failed else 0
        for ticket, answer in zip(batch, answers, strict=True):
            self._answers.put(functools.partial(_tell, ticket.answer, answer))
        if self._state != "stopped":
            self._pump()


class Place:
    """One of the queue's places, kept until it is left."""

    def __init__(self, engine: Engine):
        self._engine: Engine | None = engine

    def leave(self) -> None:
        """Gives it back; again is nothing."""
        if self._engine is not None:
            self._engine._places -= 1
            self._engine = None


def _tell(waits: asyncio.Future[Any], answer: Any) -> None:
    if not waits.done():
        waits.set_result(answer)


class _Before:
    """A block that ends by a deadline; ServeError 813 if it does not."""

    def __init__(self, deadline: float, watcher: Watcher):
        self._timeout = asyncio.timeout_at(deadline)
        self._watcher = watcher

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            self._watcher.shed("deadline", 1)
            raise ServeError(813, "the deadline has passed", fix="ask again, or for less") from None
