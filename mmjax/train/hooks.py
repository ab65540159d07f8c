"""What happens at step borders: logging, validation, saving."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from mmjax.checkpoint.store import Checkpoints
from mmjax.core.errors import NumericError
from mmjax.data.loader import Loader
from mmjax.train.evaluate import Evaluation
from mmjax.train.periods import Periods
from mmjax.train.selection import mode_of
from mmjax.train.state import TrainState
from mmjax.train.stepping import Stepping
from mmjax.train.window import Window
from mmjax.writers import MultiWriter, Progress

log = logging.getLogger(__name__)

_UNREAD = 1000
"""Steps whose values may wait on the devices where no line of metrics is due."""
_NAMED = 12
"""Rows that an error names."""
_STUCK = 5
"""Lines of metrics in a row after which a loss that has not moved is spoken of."""


@dataclasses.dataclass
class Moment:
    """The border after `step` steps. Hooks run in order, each seeing what those before it set."""

    step: int
    stepping: Stepping
    values: Any
    """What the step returned, still on the devices, as `Stepping.take` says."""
    rows: np.ndarray
    """The table rows of the step's batch, on this host."""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """Validation metrics, if the model was evaluated at this border."""
    improved: bool = False
    """Whether they are the best so far."""
    stop: str = ""
    """Why training should end here; empty if it should not."""
    among: bool = False
    """Whether later steps were taken with this one (`train.steps_per_call`): the state is theirs,
    and training ends after them at the earliest."""

    @property
    def state(self) -> TrainState:
        """After the step; the next one goes on from what it is set to. To read it costs time."""
        return self.stepping.state

    @state.setter
    def state(self, state: TrainState) -> None:
        self.stepping.state = state


class Hook(Protocol):
    """One with a true attribute `waits` waits for the devices, and so for all processes."""

    def __call__(self, moment: Moment) -> None: ...


class Resumable(Protocol):
    """A hook with a memory."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


class Log:
    """Writes the mean loss and the other numbers of the steps since the last time.

    Raises NumericError once `max_skipped` steps in a row were not finite, naming their rows;
    `where(row)` is a row's place in its source.
    """

    waits = True

    def __init__(
        self,
        periods: Periods,
        writer: MultiWriter,
        progress: Progress,
        loader: Loader,
        task: Any,
        *,
        examples: int,
        max_skipped: int,
        where: Callable[[int], str] = str,
    ):
        self._periods = periods
        self._writer = writer
        self._progress = progress
        self._loader = loader
        self._task = task
        self._logged = getattr(task, "logged", task.headline)
        self._examples = examples
        self._max_skipped = max_skipped
        self._where = where
        self._window = Window()
        self._rows: list[tuple[int, np.ndarray]] = []
        self._skipped: list[tuple[int, np.ndarray]] = []
        self._steps = 0
        self._stuck = 0
        self._clock, self._waited = time.perf_counter(), loader.wait_seconds

    def __call__(self, moment: Moment) -> None:
        self._window.add(moment.values)
        self._rows.append((moment.step, moment.rows))
        self._steps += 1
        if self._periods.due(self._periods.log, moment.step):
            last = self._read()[-1]
            self._write(moment.step, last)
        elif len(self._window) >= _UNREAD:
            self._read()

    def _read(self) -> list[dict[str, Any]]:
        """Reads what the steps returned, and raises if too many in a row were skipped."""
        found = self._window.read()
        rows, self._rows = self._rows, []
        for values, (step, at) in zip(found, rows, strict=True):
            if not values["skipped_in_a_row"]:
                self._skipped = []
                continue
            self._skipped.append((step, at))
            log.warning(
                "step %d was skipped: loss %.4g, gradient norm %.4g",
                step,
                values["loss"],
                values["grad_norm"],
            )
            if int(values["skipped_in_a_row"]) >= self._max_skipped:
                raise self._error()
        return found

    def _error(self) -> NumericError:
        skipped = self._skipped[-self._max_skipped :]
        steps = ", ".join(str(step) for step, _ in skipped)
        rows = list(dict.fromkeys(int(row) for _, at in skipped for row in at if row >= 0))
        named = ", ".join(self._where(row) for row in rows[:_NAMED])
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        return NumericError(
            701,
            f"loss or gradients were not finite {self._max_skipped} times in a row",
            where=f"step {steps}; rows {named}{more}",
            fix="look at these rows, lower optimizer.learning_rate, or set max_grad_norm",
        )

    def _write(self, step: int, last: Mapping[str, Any]) -> None:
        now, waited = time.perf_counter(), self._loader.wait_seconds
        seconds, waiting = max(now - self._clock, 1e-9), waited - self._waited
        self._clock, self._waited = now, waited
        steps, self._steps = self._steps, 0
        window = self._window
        of_task = self._task.compute(window.sums) if window.sums else {}
        self._tell_if_stuck(of_task)
        numbers = {
            "train/loss": float(np.mean(window.losses)) if window.losses else float("nan"),
            **{f"train/{k}": v for k, v in of_task.items() if k in self._logged},
            "train/grad_norm": float(last["grad_norm"]),
            "learning_rate": float(last["learning_rate"]),
            **{name: float(value) for name, value in last.get("watched", {}).items()},
            "examples_per_second": steps * self._examples / seconds,
            "input_wait": waiting / seconds,
        }
        window.clear()
        self._writer.scalars(step, numbers)
        self._progress.update(
            step,
            examples=steps * self._examples,
            wait_fraction=min(waiting / seconds, 1.0),
            values={"loss": numbers["train/loss"]},
        )

    def _tell_if_stuck(self, metrics: Mapping[str, float]) -> None:
        """Warns, once a stretch, of losses that stay where they are without having learnt."""
        found = self._task.stuck(metrics) if hasattr(self._task, "stuck") else ""
        self._stuck = self._stuck + 1 if found else 0
        if self._stuck == _STUCK:
            log.warning("%s", found)

    def state(self) -> dict[str, Any]:
        """JSON values for a resume: the line of metrics that is begun."""
        self._read()
        return self._window.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._window.restore(state)


class Validate:
    """Evaluates on the validation rows, and knows the best so far and when to stop early."""

    waits = True

    def __init__(
        self,
        periods: Periods,
        evaluate: Callable[[TrainState], Evaluation],
        writer: MultiWriter,
        progress: Progress,
        *,
        metric: str,
        patience: int | None,
        threshold: float,
        headline: tuple[str, ...],
        logged: tuple[str, ...] = (),
    ):
        self._periods = periods
        self._evaluate = evaluate
        self._writer = writer
        self._progress = progress
        self._metric = metric
        self._sign = -1.0 if mode_of(metric) == "min" else 1.0
        self._patience = patience
        self._threshold = threshold
        self._headline = headline
        self._logged = ("loss", metric, *headline, *logged)
        self._best: float | None = None
        self._reference: float | None = None
        self._without_progress = 0

    def __call__(self, moment: Moment) -> None:
        if not self._periods.due(self._periods.evaluate, moment.step):
            return
        found = self._evaluate(moment.state).metrics
        moment.metrics = found
        written = {f"validation/{k}": v for k, v in found.items() if k in self._logged}
        self._writer.scalars(moment.step, written)
        shown = {k: v for k, v in found.items() if k in ("loss", self._metric, *self._headline)}
        moment.improved = self._note(self._sign * found[self._metric])
        told = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        self._progress.note(f"step {moment.step}  validation  {told}")
        moment.stop = self.why_stop() or moment.stop

    def _note(self, score: float) -> bool:
        """Counts an evaluation; whether it is the best so far."""
        # Many steps that are each below the threshold add up to one that is above it.
        if _above(score, self._reference, self._threshold):
            self._reference, self._without_progress = score, 0
        else:
            self._without_progress += 1
        improved = _above(score, self._best)
        if improved:
            self._best = score
        return improved

    def why_stop(self) -> str:
        """Why training should end early; empty if it should not."""
        if self._patience is None or self._without_progress < self._patience:
            return ""
        return (
            f"no better {self._metric} in {self._without_progress} evaluations "
            f"(train.early_stopping_patience={self._patience})"
        )

    def state(self) -> dict[str, Any]:
        """JSON values for a resume."""
        return {
            "best": self._best,
            "reference": self._reference,
            "without_progress": self._without_progress,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._best, self._reference = state["best"], state["reference"]
        self._without_progress = int(state["without_progress"])


def _above(score: float, known: float | None, by: float = 0.0) -> bool:
    """Whether a score is a number, and above what is known."""
    return bool(np.isfinite(score)) and (known is None or score > known + by)


class Save:
    """Saves a checkpoint in the background, and raises what an earlier save failed of.

    Besides every period, the last step is saved, and the best so far if `keep_best`. `parts` are
    hooks whose state is kept with it, by name.
    """

    waits = True

    def __init__(
        self,
        periods: Periods,
        checkpoints: Checkpoints,
        loader: Loader,
        parts: Mapping[str, Resumable],
        *,
        metric: str,
        keep_best: bool,
    ):
        self._periods = periods
        self._checkpoints = checkpoints
        self._loader = loader
        self._parts = parts
        self._metric = metric
        self._keep_best = keep_best

    def __call__(self, moment: Moment) -> None:
        self._checkpoints.check_errors()
        if moment.among:
            return
        best = self._keep_best and moment.improved
        last = bool(moment.stop) or moment.step == self._periods.total
        if last or best or self._periods.due(self._periods.save, moment.step):
            self.now(moment)

    def now(self, moment: Moment) -> None:
        """Saves at this border whatever the period says."""
        score = moment.metrics.get(self._metric, np.nan)
        self._checkpoints.save(
            moment.step,
            moment.state,
            data_state=self._loader.state(),
            metrics={self._metric: score} if np.isfinite(score) else None,
            extra={name: part.state() for name, part in self._parts.items()},
        )

    def wait(self) -> None:
        """Returns when what was saved is on disk; raises what the save failed of."""
        self._checkpoints.wait()
