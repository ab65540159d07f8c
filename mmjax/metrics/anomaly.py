"""Metrics of scores that are to be high for what is not normal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Bool, Float, Int
from mmjax.metrics.ranks import yes_or_no
from mmjax.metrics.scores import auroc, average_precision

NAN = float("nan")


def anomaly(
    scores: Float[np.ndarray, "n"],
    anomalous: Bool[np.ndarray, "n"],
    *,
    threshold: float | None = None,
    kinds: Int[np.ndarray, "n"] | None = None,
    kind_names: Sequence[str] = (),
) -> dict[str, float]:
    """Every metric of anomaly detection as a flat dict, in float64; anomalies are what is found.

    - `auroc`, `ap`: of the scores, whatever the threshold. Equal scores count half in the first and
      are one threshold in the second. NaN without an anomaly, the first also without a normal row.
    - `auroc/<name>`: of the anomalies of one kind against all normal rows, where `kinds` gives each
      row's position in `kind_names`; of kinds that no anomaly is of there is none.
    - at `threshold`, an alarm being a score above it: `false_alarm_rate`, the share of normal rows
      with one; `detection_rate`, that of anomalies (recall); `precision`, the share of alarms that
      are right, 0 without an alarm; `alarm_rate`, the share of all rows. NaN without a threshold,
      and where there is no such row. `threshold` is told too.

    Agrees with scikit-learn, whose average precision is 0 without an anomaly. Raises DataError for
    wrong shapes, no rows, and scores that are NaN.
    """
    scores = _scores(scores)
    anomalous = yes_or_no(anomalous, scores.shape, "anomalous")
    found = {"auroc": auroc(scores, anomalous), "ap": average_precision(scores, anomalous)}
    alarms = np.zeros(len(scores), bool) if threshold is None else scores > threshold
    hits = float(np.sum(alarms & anomalous))
    known = threshold is not None
    found |= {
        "detection_rate": _share(alarms[anomalous]) if known else NAN,
        "false_alarm_rate": _share(alarms[~anomalous]) if known else NAN,
        "precision": (hits / max(1, alarms.sum())) if known else NAN,
        "alarm_rate": _share(alarms) if known else NAN,
        "threshold": NAN if threshold is None else float(threshold),
    }
    for kind, name in enumerate(kind_names if kinds is not None else ()):
        of_kind = anomalous & (np.asarray(kinds) == kind)
        if of_kind.any():
            rows = of_kind | ~anomalous
            found[f"auroc/{name}"] = auroc(scores[rows], of_kind[rows])
    return found


def threshold_at(scores: Float[np.ndarray, "n"], rate: float) -> float:
    """The lowest of normal `scores` that no more than a share `rate` of them are above.

    Of n rows, floor(rate * n) may be above it. Raises ConfigError for a rate outside [0, 1),
    DataError for no rows and scores that are NaN.
    """
    if not 0 <= rate < 1:
        raise ConfigError(
            106, f"a rate of {rate}", where="false_alarm_rate", fix="a share from 0 to below 1"
        )
    ordered = np.sort(_scores(scores))
    # 0.07 * 100 is a little more than 7, 0.29 * 100 a little less than 29.
    allowed = int(np.floor(rate * len(ordered) + 1e-9))
    return float(ordered[len(ordered) - 1 - allowed])


def _scores(scores: np.ndarray) -> np.ndarray:
    values = np.asarray(scores)
    if values.ndim != 1 or not len(values):
        raise DataError(
            540, f"scores have shape {list(values.shape)}", fix="expected [n], n at least 1"
        )
    values = values.astype(np.float64)
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        raise DataError(542, "a score is NaN", where=f"row {row}", fix="look for a diverged model")
    return values


def _share(of: np.ndarray) -> float:
    return float(of.mean()) if len(of) else NAN
