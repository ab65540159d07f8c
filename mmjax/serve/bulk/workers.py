"""Blocks answered here, or by processes of this machine that are replaced when they die."""

from __future__ import annotations

import collections
import dataclasses
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mmjax.core.errors import MMJaxError, TransientError
from mmjax.export.program import Program
from mmjax.serve.bulk.answering import Answerer
from mmjax.serve.bulk.job import Work
from mmjax.serve.bulk.rows import Block
from mmjax.serve.bulk.worker import told

_MOST_DEATHS = 3
"""Processes that may die of one block, or before their first, before the job is given up."""

_log = logging.getLogger(__name__)

Done = Callable[[Block], None]


def answer_here(work: Work, blocks: Sequence[Block], done: Done, program: Program) -> None:
    """Every block in this process."""
    answerer = Answerer(program, work)
    for block in blocks:
        answerer.write(block)
        done(block)


def answer_by_processes(
    work: Work, blocks: Sequence[Block], done: Done, *, workers: int, command: Sequence[str] = ()
) -> None:
    """Every block by one of `workers` processes. On several GPUs each has one.

    A process that dies is replaced and its block done again. Raises TransientError for a block that
    three processes died of, and the error that a process ended with.
    """
    _Pool(work, blocks, done, list(command) or _COMMAND).run(min(workers, len(blocks)))


_COMMAND = [sys.executable, "-m", "mmjax.serve.bulk.worker"]


class _Pool:
    def __init__(self, work: Work, blocks: Sequence[Block], done: Done, command: list[str]):
        self._work, self._done, self._command = work, done, command
        self._open: queue.SimpleQueue[Block] = queue.SimpleQueue()
        for block in blocks:
            self._open.put(block)
        self._left = len(blocks)
        self._deaths: dict[int, int] = collections.Counter()
        self._errors: list[Exception] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._children: list[subprocess.Popen[str]] = []

    def run(self, workers: int) -> None:
        threads = [
            threading.Thread(target=self._serve, args=(number,), daemon=True)
            for number in range(workers)
        ]
        for thread in threads:
            thread.start()
        try:
            while not self._over.wait(0.5) and any(one.is_alive() for one in threads):
                pass
        finally:
            self._over.set()
            for child in self._children:
                child.kill()
            for child in self._children:
                child.wait()
        if self._errors:
            raise self._errors[0]

    def _serve(self, number: int) -> None:
        """Gives blocks to one process after another."""
        try:
            while not self._over.is_set():
                self._live(number)
        except Exception as error:
            self._errors.append(error)
            self._over.set()

    def _live(self, number: int) -> None:
        """One process from its start to its end."""
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **_device(number)},
            # Ctrl-C comes to the job, which ends its processes.
            start_new_session=True,
        )
        with self._lock:
            self._children.append(child)
        assert child.stdin is not None
        assert child.stdout is not None
        given: Block | None = None
        try:
            child.stdin.write(told(self._work))
            while not self._over.is_set():
                try:
                    given = self._open.get(timeout=0.2)
                except queue.Empty:
                    continue
                child.stdin.write(json.dumps(dataclasses.asdict(given)) + "\n")
                child.stdin.flush()
                line = child.stdout.readline()
                if not line:
                    raise BrokenPipeError
                said = json.loads(line)
                if "error" in said:
                    raise MMJaxError(said["error"][0], said["error"][1], **_places(said["error"]))
                self._finished(given)
                given = None
        except BrokenPipeError:
            if not self._over.is_set():
                self._died(child, given)
        finally:
            child.kill()
            child.wait()
            with self._lock:
                self._children.remove(child)

    def _finished(self, block: Block) -> None:
        with self._lock:
            self._left -= 1
            self._done(block)
            if not self._left:
                self._over.set()

    def _died(self, child: subprocess.Popen[str], block: Block | None) -> None:
        code = child.wait()
        with self._lock:
            number = -1 if block is None else block.number
            self._deaths[number] += 1
            if self._deaths[number] >= _MOST_DEATHS:
                raise TransientError(
                    720,
                    f"{_MOST_DEATHS} processes died (the last with {code}) of block {number}",
                    where=self._work.model,
                    fix="see their messages above, then --resume",
                )
        _log.warning("a worker died with %d; another one goes on", code)
        if block is not None:
            self._open.put(block)


def _places(said: Sequence[str]) -> dict[str, str]:
    return {"where": said[2], "fix": said[3]}


def _device(number: int) -> dict[str, str]:
    """Which GPU a process has, where there are any."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = Path("/proc/driver/nvidia/gpus")
    devices = shown.split(",") if shown else []
    if shown is None and known.is_dir():
        devices = [str(one) for one in range(len(list(known.iterdir())))]
    if not devices:
        return {}
    return {"CUDA_VISIBLE_DEVICES": devices[number % len(devices)]}
