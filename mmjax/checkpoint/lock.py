"""One run, one process: a lock file that names its holder and outlives no dead one."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mmjax.core.errors import CheckpointError
from mmjax.core.files import flocked

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Holder:
    """A process, told apart from every other that may ever carry its number.

    `boot` is the kernel's boot id and `started` the process start in clock ticks after it; both are
    empty where the system does not tell them. `job` is what a launcher calls all attempts at one
    run (`MMJAX_RUN_ID`), of which there is one at a time.
    """

    host: str
    pid: int
    boot: str
    started: str
    since: str
    job: str = ""

    @classmethod
    def current(cls) -> Holder:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        job = os.environ.get("MMJAX_RUN_ID", "")
        return cls(socket.gethostname(), os.getpid(), _boot_id(), _started(os.getpid()), now, job)

    def alive(self) -> bool:
        """False only if the process is known to be dead.

        Another host's cannot be known, unless it was an earlier attempt of this process's job: its
        machine was taken away, and the launcher began anew.
        """
        if self.host != socket.gethostname():
            return not self.job or self.job != os.environ.get("MMJAX_RUN_ID", "")
        if self.boot != _boot_id():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return self.started == _started(self.pid)

    def is_this_process(self) -> bool:
        ours = Holder.current()
        return (self.host, self.pid, self.boot) == (ours.host, ours.pid, ours.boot)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Field 22 of /proc/PID/stat, or "" where there is none; "dead" for a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "dead" if fields[0] in "ZX" else fields[19]


class Lock:
    """Holds `path` for this process; a dead process's lock is taken over.

    Raises CheckpointError if a live process, or one on another host, holds it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._held: Holder | None = None

    def acquire(self) -> Lock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        ours = Holder.current()
        with _mutex(self.path) as file:
            text = file.read()
            theirs = _parse(text)
            if theirs is not None and theirs.alive():
                raise CheckpointError(
                    602,
                    f"another run holds this folder: {theirs}",
                    where=str(self.path),
                    fix="use another --workdir, or end that process; if its host is gone, "
                    f"remove {self.path.name}",
                )
            if text:
                _log.warning("taking over %s of a dead run: %s", self.path, theirs or "unreadable")
            file.seek(0)
            file.truncate()
            file.write(json.dumps(dataclasses.asdict(ours), indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._held = ours
        return self

    def release(self) -> None:
        """Removes the file if this process still holds it; a forked child's call does nothing."""
        held, self._held = self._held, None
        if held is not None and held.pid == os.getpid() and holder(self.path) == held:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Lock:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def holder(path: str | Path) -> Holder | None:
    """The live holder of a lock file, or None."""
    try:
        found = _parse(Path(path).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None
    return found if found is not None and found.alive() else None


def _parse(text: str) -> Holder | None:
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):
        return None


@contextlib.contextmanager
def _mutex(path: Path) -> Iterator:
    """`path` open for reading and writing by one process at a time.

    The file is opened again if its holder removed it while this process waited.
    """
    while True:
        with open(path, "a+", encoding="utf-8") as file:
            # Where there is no lock, the holder's name still protects.
            flocked(file)
            try:
                same = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
            except FileNotFoundError:
                same = False
            if same:
                file.seek(0)
                yield file
                return
