"""Have the data moved away from what a run was measured on? Reference, measures, and alarms."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api.reference import Seen, of_data, of_predictions, recalled, remember
from mmjax.api.run import Run, load_run
from mmjax.api.trends import alarms, of_run
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import write_json
from mmjax.metrics.drift import (
    distribution_distance,
    mean_discrepancy,
    share_change,
    stability_index,
)
from mmjax.train.selection import mode_of

RULES: dict[str, float] = {
    "embedding": 0.0,
    "prediction": 0.2,
    "confidence": 0.15,
    "missing": 0.05,
    "calibration": 0.05,
    "metric": 0.05,
    "surge": 0.0,
}
"""By kind, how large a measure must be for an alarm: MMD^2 of vectors, PSI (or KS of numbers) of
predictions, KS of confidences, the change of the share of rows without a modality, the rise of
the calibration error, the fall of the first metric (of an error its rise), and in how many periods
bad news of a topic surged."""
SURE = 0.01
"""And how improbable by chance, where there is a test."""


@dataclasses.dataclass(frozen=True)
class Measure:
    """One thing that was compared."""

    kind: str
    of: str
    value: float
    p: float | None
    threshold: float
    before: float | None
    after: float | None
    alarm: bool


@dataclasses.dataclass(frozen=True)
class Drift:
    """New rows against those of the reference."""

    reference_rows: int
    rows: int
    measures: tuple[Measure, ...]

    @property
    def alarms(self) -> tuple[Measure, ...]:
        return tuple(one for one in self.measures if one.alarm)

    def as_json(self) -> dict[str, Any]:
        return {
            "reference_rows": self.reference_rows,
            "rows": self.rows,
            "alarms": [f"{one.kind}/{one.of}" for one in self.alarms],
            "measures": [dataclasses.asdict(one) for one in self.measures],
        }


def drift(
    run: Run | str | os.PathLike,
    data: Any = None,
    *,
    predictions: str | os.PathLike | Sequence[Mapping[str, Any]] | None = None,
    root: str | None = None,
    rules: Mapping[str, float] | None = None,
    time: str | None = None,
    topic: str | None = None,
    out: str | os.PathLike | None = None,
) -> Drift:
    """New rows beside those that the run was measured on, and which differences are alarms.

        found = mmjax.drift("runs/first", "new.csv")
        found.alarms

    `data` are rows as `Run.predict` takes them: the vectors of each modality are compared (maximum
    mean discrepancy), which modalities are missing, the predictions and how sure they are, and,
    where the rows have labels, the first metric and the calibration. Or `predictions` alone: the
    JSON Lines that `mmjax predict` wrote, or a server's own, each with an answer. `rules` change
    `RULES`; a measure is an alarm beyond its threshold if, where it has a test, chance would do as
    much less than once in a hundred, all measures of its kind taken together. With the column
    `time` of the data (and that of their `topic`), a run of sentiment is also asked where bad news
    surged (`mmjax.api.trends.of_run`). With `out`, what was found is written there as JSON.

    The reference is that of the run, which training kept; vectors are made of its own test rows by
    an export or the first time, if they are there. Raises DataError if a run has no reference and
    its data are not there, and for rows or predictions that cannot be read.
    """
    if time is not None and data is None:
        raise ConfigError(109, f"time={time} without rows", where="drift", fix="give data")
    run = run if isinstance(run, Run) else load_run(run)
    for name in rules or {}:
        if name not in RULES:
            raise ConfigError(106, f"no rule '{name}'", where="rules", fix=nearest(name, RULES))
    reference = _reference(run, vectors=predictions is None)
    new = of_data(run, data, root=root) if predictions is None else of_predictions(predictions)
    whole = {**RULES, **(rules or {})}
    measures = _alarmed(_measures(reference, new), whole)
    if time is not None:
        periods = of_run(run, data, root=root, time=time, topic=topic)
        measures += _surges(periods, whole["surge"])
    found = Drift(reference.rows, new.rows, tuple(measures))
    if out is not None:
        write_json(out, found.as_json())
    return found


def _reference(run: Run, *, vectors: bool) -> Seen:
    known = recalled(run)
    if known is not None and (known.vectors or not vectors):
        return known
    try:
        return remember(run)
    except DataError:
        if known is None:
            raise
        return known


def _surges(periods: Sequence[Mapping[str, Any]], threshold: float) -> list[Measure]:
    """Of each topic, in how many periods bad news began to surge, and the first of them."""
    begun = alarms(periods)
    found = []
    for name in dict.fromkeys(one["topic"] for one in periods):
        own = [one for one in begun if one["topic"] == name]
        told = f"{name} on {own[0]['time']}" if own else str(name)
        least = min((one["p"] for one in own), default=None)
        alarm = len(own) > threshold
        found.append(Measure("surge", told, float(len(own)), least, threshold, None, None, alarm))
    return found


def _measures(old: Seen, new: Seen) -> Iterator[Measure]:
    """All that both know, without alarms yet."""

    def of(kind: str, name: str, value: float, p: float | None, *shown: float) -> Measure:
        before, after = shown or (None, None)
        return Measure(kind, name, value, p, RULES[kind], before, after, alarm=False)

    for name in old.vectors.keys() & new.vectors.keys():
        if min(len(old.vectors[name]), len(new.vectors[name])) > 1:
            found = mean_discrepancy(old.vectors[name], new.vectors[name])
            yield of("embedding", name, found["mmd"], found["p"])
    for name in old.present.keys() & new.present.keys():
        gone = (old.rows - old.present[name], old.rows), (new.rows - new.present[name], new.rows)
        found = share_change(*gone)
        shares = [a / n for a, n in gone]
        yield of("missing", name, abs(found["change"]), found["p"], *shares)
    if old.said and new.said:
        names = sorted({*old.said, *new.said})
        counts = [np.array([one.said.get(name, 0) for name in names]) for one in (old, new)]
        found = stability_index(*counts)
        yield of("prediction", "classes", found["psi"], found["p"])
    for name in old.numbers.keys() & new.numbers.keys():
        found = distribution_distance(old.numbers[name], new.numbers[name])
        middles = [float(np.mean(one.numbers[name])) for one in (old, new)]
        kind = "confidence" if name.endswith("confidence") else "prediction"
        yield of(kind, name, found["ks"], found["p"], *middles)
    for name in old.measured.keys() & new.measured.keys():
        before, after = old.measured[name], new.measured[name]
        if name == "ece":
            yield of("calibration", name, after - before, None, before, after)
            continue
        worse = after - before if mode_of(name) == "min" else before - after
        yield of("metric", name, worse, None, before, after)


def _alarmed(measures: Iterator[Measure], rules: Mapping[str, float]) -> list[Measure]:
    """The measures by kind and name, with what the rules say of each."""
    listed = sorted(measures, key=lambda one: (list(RULES).index(one.kind), one.of))
    counts = Counter(one.kind for one in listed)
    found = []
    for one in listed:
        sure = one.p is None or one.p <= SURE / counts[one.kind]
        # By permutation no p is below one in as many as were drawn.
        sure = sure or (one.kind == "embedding" and one.p is not None and one.p <= 0.005)
        threshold = rules[one.kind]
        alarm = sure and one.value > threshold
        found.append(dataclasses.replace(one, threshold=threshold, alarm=bool(alarm)))
    return found
