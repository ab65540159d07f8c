"""A search that lives on disk: who tries what, shared by any number of processes.

Optuna keeps trials in SQLite and proposes the next; what is here makes sure that each point is
tried by one process, that what a dead process left is tried again, and that what is known is not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmjax.checkpoint.lock import Holder
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.extras import require
from mmjax.core.files import flocked
from mmjax.core.space import (
    Choice,
    IntRange,
    Label,
    Plain,
    Simplex,
    Space,
    choose,
    every_point,
)

log = logging.getLogger(__name__)

Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["none", "median", "halving"]
State = Literal["complete", "pruned", "failed", "running", "waiting"]

_BEAT, _GRACE = 15.0, 120.0
"""Seconds between two signs of life, and without one after which a process of another host is taken
for dead."""
_ATTEMPTS = 3
_DRAWS = 10
"""Points that are drawn in place of one that another process is at."""
_NAME = "mmjax"


@dataclasses.dataclass(frozen=True)
class Record:
    """A trial as the study knows it."""

    number: int
    state: State
    value: float | None
    params: Mapping[str, Label]
    curve: Mapping[int, float]
    """What was reported, by step."""
    folder: str
    """The name of its folder; a trial that is tried again keeps that of the first attempt."""
    note: str
    again: bool
    """Whether another trial took its place."""


class Study:
    """The trials of one search, in `study.db` of a folder that its processes share.

    `storage` is the address of another database for hosts whose common folder SQLite cannot lock,
    as Optuna takes it. Raises MissingExtra without Optuna.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        *,
        lower: bool,
        sampler: Sampler = "tpe",
        pruner: Pruner = "median",
        seed: int = 0,
        storage: str | None = None,
    ):
        for name, value, known in (
            ("sampler", sampler, ("tpe", "random", "grid")),
            ("pruner", pruner, ("none", "median", "halving")),
        ):
            if value not in known:
                raise ConfigError(106, f"{name} = '{value}'", fix=nearest(value, known))
        self._optuna = require("optuna", "tune")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._folder, self._space, self._lower = Path(folder), space, lower
        self._sampler, self._seed = sampler, seed
        folder.mkdir(parents=True, exist_ok=True)
        url = storage or f"sqlite:///{(self._folder / 'study.db').resolve()}"
        connect = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
        with self._alone():
            self._study = self._optuna.create_study(
                storage=self._optuna.storages.RDBStorage(url, engine_kwargs=connect),
                study_name=_NAME,
                direction="minimize" if lower else "maximize",
                pruner=self._make_pruner(pruner),
                load_if_exists=True,
            )
            if sampler == "grid" and not self._study.get_trials(deepcopy=False):
                for params in every_point(space):
                    self._study.enqueue_trial(params)

    def claim(self, most: int) -> Trial | None:
        """The next point to try, this process's alone; None where `most` are tried or being tried.

        What dead processes were at is tried first. Of a grid, `most` has no part.
        """
        with self._alone():
            known = self.records()
            if self._revive(known):
                known = self.records()
            waiting = any(one.state == "waiting" for one in known)
            if not waiting and (self._sampler == "grid" or _counted(known) >= most):
                return None
            asked, params = self._ask(known)
            alive = _Alive(self._folder / "workers" / f"{asked.number}.json")
            folder = asked.user_attrs.get("folder")
            if folder is None:
                folder = f"trial_{asked.number:04d}"
                asked.set_user_attr("folder", folder)
            return Trial(self, asked, params, folder, alive)

    def _ask(self, known: Sequence[Record]) -> tuple[Any, dict[str, Label]]:
        """A new trial and its point, which nobody else is at, as far as there are others."""
        running = [one.params for one in known if one.state == "running"]
        for draw in range(_DRAWS):
            self._study.sampler = self._make_sampler(_DRAWS * _counted(known) + draw)
            asked = self._study.ask()
            suggest = functools.partial(_suggest, asked)
            params = choose(self._space, suggest)
            if params not in running:
                break
            asked.set_user_attr("again", True)
            self._study.tell(asked, state=self._state("FAIL"))
        else:
            asked = self._study.ask()
            params = choose(self._space, functools.partial(_suggest, asked))
        return asked, params

    def records(self) -> list[Record]:
        """Every trial, in the order of their numbers."""
        return [self._record(one) for one in self._study.get_trials(deepcopy=False)]

    def best(self, records: Sequence[Record] | None = None) -> Record | None:
        """The finished trial with the best value, the earliest of equal ones; None without one.

        `records` are those of the study if they are known already.
        """
        known = self.records() if records is None else records
        done = [one for one in known if one.state == "complete"]
        sign = 1.0 if self._lower else -1.0
        return min(done, key=lambda one: sign * (one.value or 0.0), default=None)

    def importance(self) -> dict[str, float]:
        """The share of each setting in what made the values differ (PED-ANOVA, Watanabe et al.
        2023), largest first; nothing where there are too few trials to tell.
        """
        done = [one for one in self.records() if one.state == "complete"]
        if len(done) < 4 or len({one.value for one in done}) < 2:
            return {}
        evaluator = self._optuna.importance.PedAnovaImportanceEvaluator()
        try:
            found = self._optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        except (ValueError, RuntimeError) as error:
            log.info("no importance of settings: %s", error)
            return {}
        return {name: float(share) for name, share in found.items()}

    def same_as(self, number: int, params: Mapping[str, Label]) -> Record | None:
        """A finished trial of the very same point."""
        for one in self.records():
            if one.number != number and one.state == "complete" and one.params == params:
                return one
        return None

    def _record(self, one: Any) -> Record:
        states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
        state: Any = states.get(one.state.name, one.state.name.lower())
        value = one.values[0] if one.values else None
        attrs = one.user_attrs
        return Record(
            number=one.number,
            state=state,
            value=value,
            params=dict(one.params),
            curve=dict(sorted(one.intermediate_values.items())),
            folder=attrs.get("folder", ""),
            note=attrs.get("note", ""),
            again=attrs.get("again", False),
        )

    def _revive(self, known: Sequence[Record]) -> bool:
        """Puts what no living process is at back in the queue; whether there was such."""
        running = [one.number for one in known if one.state == "running"]
        dead = [one for one in running if not _alive(self._folder / "workers" / f"{one}.json")]
        for number in dead:
            log.warning("trial %d was left by its process: it is tried again", number)
            with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):
                self.put_back(self._study.get_trials(deepcopy=False)[number], "its process is gone")
        return bool(dead)

    def put_back(self, one: Any, note: str) -> None:
        """Ends a trial that came to no result, and queues its point, a few times at most."""
        attempt = one.user_attrs.get("attempt", 1)
        point = self._study.get_trials(deepcopy=False)[one.number].params
        again = bool(point) and attempt < _ATTEMPTS
        storage, trial_id = self._study._storage, one._trial_id
        # A trial that never had a point is no trial; what was tried too often counts as one.
        storage.set_trial_user_attr(trial_id, "again", again or not point)
        storage.set_trial_user_attr(trial_id, "note", note)
        self._study.tell(one.number, state=self._state("FAIL"))
        if again:
            attrs = {"attempt": attempt + 1, "folder": one.user_attrs.get("folder")}
            self._study.enqueue_trial(point, user_attrs=attrs)

    def tell(self, trial: Trial, *, state: str, value: float | None, note: str) -> None:
        """Writes the end of a trial."""
        try:
            trial.asked.set_user_attr("note", note)
            self._study.tell(trial.asked, value, state=self._state(state))
        except (self._optuna.exceptions.UpdateFinishedTrialError, ValueError):
            log.warning("trial %d was taken for dead, and is another process's now", trial.number)

    def _state(self, name: str) -> Any:
        return self._optuna.trial.TrialState[name]

    def _make_sampler(self, draw: int) -> Any:
        """One whose random numbers are those of the trial, so that no two processes have equal
        ones, and a search that was stopped goes on as it would have.
        """
        seed = (self._seed * 1_000_003 + draw) % 2**32
        if self._sampler == "tpe":
            return self._optuna.samplers.TPESampler(seed=seed)
        return self._optuna.samplers.RandomSampler(seed=seed)

    def _make_pruner(self, name: Pruner) -> Any:
        pruners = self._optuna.pruners
        if name == "median":
            return pruners.MedianPruner(n_startup_trials=5)
        return pruners.SuccessiveHalvingPruner() if name == "halving" else pruners.NopPruner()

    def _alone(self) -> contextlib.AbstractContextManager[bool]:
        """One process at a time."""
        return alone(self._folder / "study.lock")


class Trial:
    """A point that this process tries; it must be ended by one of the methods below."""

    def __init__(
        self, study: Study, asked: Any, params: dict[str, Label], folder: str, alive: _Alive
    ):
        self.asked, self.params, self.folder = asked, params, folder
        self.number: int = asked.number
        self._study, self._alive = study, alive
        self._reported: set[int] = set()

    def report(self, step: int, value: float) -> bool:
        """Notes a value on the way; whether the trial is not worth going on with."""
        if value != value:
            return False
        if step not in self._reported:
            self._reported.add(step)
            self.asked.report(value, step)
        return bool(self.asked.should_prune())

    def complete(self, value: float, note: str = "") -> None:
        self._end("COMPLETE", value, note)

    def prune(self) -> None:
        self._end("PRUNED", None, "")

    def fail(self, note: str) -> None:
        """Of a point that cannot be tried: it is not tried again."""
        self._end("FAIL", None, note)

    def release(self, note: str) -> None:
        """Of a process that must stop: another one, or this one later, goes on with the point."""
        self._study.put_back(self.asked, note)
        self._alive.stop()

    def _end(self, state: str, value: float | None, note: str) -> None:
        # In this order: a trial that runs and gives no sign of life is a dead process's.
        self._study.tell(self, state=state, value=value, note=note)
        self._alive.stop()


class _Alive:
    """A file that says which process is at a trial, touched as long as it is."""

    def __init__(self, path: Path):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(Holder.current())), encoding="utf-8")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)


def _alive(path: Path) -> bool:
    """Whether the process of such a file may still be at it."""
    try:
        holder = Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False
    if holder.host == Holder.current().host:
        return holder.alive()
    # The file server's clock, since hosts may disagree about the time.
    probe = path.with_name(f".{os.getpid()}.probe")
    probe.touch()
    now, last = probe.stat().st_mtime, path.stat().st_mtime
    probe.unlink(missing_ok=True)
    return now - last < _GRACE


@contextlib.contextmanager
def alone(path: Path, *, patient: bool = True) -> Iterator[bool]:
    """True while no other process holds this lock file; one that is not patient gets False instead
    of waiting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        # Without a lock the database still hands out points once.
        yield flocked(file, patient=patient)


def _counted(records: Sequence[Record]) -> int:
    """The points that were tried or are being tried."""
    return sum(not one.again for one in records)


def _suggest(asked: Any, name: str, domain: Plain) -> Label:
    if isinstance(domain, (Choice, Simplex)):
        return asked.suggest_categorical(name, domain.grid())
    if isinstance(domain, IntRange):
        return asked.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)
    return asked.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
