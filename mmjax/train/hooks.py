"""What happens at step borders: logging, validation, saving."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from mmjax.checkpoint.store import Checkpoints
from mmjax.core.errors import NumericError
from mmjax.data.loader import Loader
from mmjax.train.evaluate import Evaluation
from mmjax.train.periods import Periods
from mmjax.train.state import TrainState
from mmjax.writers import MultiWriter, Progress


@dataclasses.dataclass
class Moment:
    """The border after `step` steps. Hooks run in order, each seeing what those before it set."""

    step: int
    state: TrainState
    values: Mapping[str, Any]
    """What the step returned, still on the devices."""
    rows: np.ndarray
    """The table rows of the step's batch, on this host."""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    """Validation metrics, if the model was evaluated at this border."""
    stop: str = ""
    """Why training should end here; empty if it should not."""


class Hook(Protocol):
    def __call__(self, moment: Moment) -> None: ...


class Log:
    """Writes the mean loss and the other numbers of the steps since the last time.

    Raises NumericError once `max_skipped` steps in a row were not finite, naming their rows.
    """

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
    ):
        self._periods = periods
        self._writer = writer
        self._progress = progress
        self._loader = loader
        self._task = task
        self._examples = examples
        self._max_skipped = max_skipped
        self._values: list[Mapping[str, Any]] = []
        self._rows: collections.deque = collections.deque(maxlen=max(max_skipped, 1))
        self._clock, self._waited = time.perf_counter(), loader.wait_seconds

    def __call__(self, moment: Moment) -> None:
        self._values.append(moment.values)
        self._rows.append((moment.step, moment.rows))
        if not self._periods.due(self._periods.log, moment.step):
            return
        values = jax.device_get(self._values)
        steps = len(values)
        self._values = []
        now, waited = time.perf_counter(), self._loader.wait_seconds
        seconds, waiting = now - self._clock, waited - self._waited
        self._clock, self._waited = now, waited
        finite = [float(v["loss"]) for v in values if np.isfinite(v["loss"])]
        sums: dict[str, Any] = {}
        for value in values:
            for name, part in value["sums"].items():
                sums[name] = sums.get(name, 0.0) + np.asarray(part, np.float64)
        of_task = self._task.compute(sums) if sums else {}
        numbers = {
            "train/loss": float(np.mean(finite)) if finite else float("nan"),
            **{f"train/{k}": v for k, v in of_task.items() if k in self._task.headline},
            "train/grad_norm": float(values[-1]["grad_norm"]),
            "learning_rate": float(values[-1]["learning_rate"]),
            "examples_per_second": steps * self._examples / seconds,
            "input_wait": waiting / seconds,
        }
        self._writer.scalars(moment.step, numbers)
        self._progress.update(
            moment.step,
            examples=steps * self._examples,
            wait_fraction=min(waiting / seconds, 1.0),
            values={"loss": numbers["train/loss"]},
        )
        if any(int(value["skipped_in_a_row"]) >= self._max_skipped for value in values):
            steps_seen = ", ".join(str(step) for step, _ in self._rows)
            rows = sorted({int(row) for _, part in self._rows for row in part if row >= 0})
            raise NumericError(
                701,
                f"loss or gradients were not finite {self._max_skipped} times in a row",
                where=f"up to step {moment.step} (last steps {steps_seen}; rows {rows[:16]} ...)",
                fix="look at these rows, lower optimizer.learning_rate, or set max_grad_norm",
            )


class Validate:
    """Evaluates on the validation rows, and knows the best so far and when to stop early."""

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
    ):
        self._periods = periods
        self._evaluate = evaluate
        self._writer = writer
        self._progress = progress
        self._metric = metric
        self._sign = -1.0 if metric == "loss" else 1.0
        self._patience = patience
        self._threshold = threshold
        self._headline = headline
        self.best: float | None = None
        self.without_progress = 0

    def __call__(self, moment: Moment) -> None:
        if not self._periods.due(self._periods.evaluate, moment.step):
            return
        found = self._evaluate(moment.state).metrics
        moment.metrics = found
        shown = {k: v for k, v in found.items() if k in ("loss", self._metric, *self._headline)}
        self._writer.scalars(moment.step, {f"validation/{k}": v for k, v in shown.items()})
        score = self._sign * found[self._metric]
        if self.best is None or score > self.best + self._threshold:
            self.best, self.without_progress = score, 0
        else:
            self.without_progress += 1
        told = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        self._progress.note(f"step {moment.step}  validation  {told}")
        if self._patience is not None and self.without_progress >= self._patience:
            moment.stop = (
                f"no better {self._metric} in {self.without_progress} evaluations "
                f"(train.early_stopping_patience={self._patience})"
            )

    def state(self) -> dict[str, Any]:
        """JSON values for a resume."""
        return {"best": self.best, "without_progress": self.without_progress}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best = state["best"]
        self.without_progress = int(state["without_progress"])


class Save:
    """Saves a checkpoint in the background, and raises what an earlier save failed of."""

    def __init__(
        self,
        periods: Periods,
        checkpoints: Checkpoints,
        loader: Loader,
        validate: Validate | None,
        metric: str,
    ):
        self._periods = periods
        self._checkpoints = checkpoints
        self._loader = loader
        self._validate = validate
        self._metric = metric

    def __call__(self, moment: Moment) -> None:
        self._checkpoints.check_errors()
        if moment.stop or self._periods.due(self._periods.save, moment.step):
            self.now(moment)

    def now(self, moment: Moment) -> None:
        """Saves at this border whatever the period says."""
        known = moment.metrics.get(self._metric)
        self._checkpoints.save(
            moment.step,
            moment.state,
            data_state=self._loader.state(),
            metrics=None if known is None else {self._metric: known},
            extra={} if self._validate is None else {"validate": self._validate.state()},
        )
