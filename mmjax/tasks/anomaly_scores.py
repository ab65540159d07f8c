"""From the scores of a row's parts to alarms: the half of anomaly detection that is on the host."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.registry import fact
from mmjax.core.typing import Bool, Float
from mmjax.metrics.anomaly import anomaly, threshold_at
from mmjax.tasks.answers.alarms import Alarms, scores_of
from mmjax.tasks.base import Task

logger = logging.getLogger(__name__)


def given() -> Any:
    """A field that is a mapping, and no setting."""
    return dataclasses.field(default_factory=dict, metadata={"fact": True})


class AnomalyScores(Task, kw_only=True):
    """A task whose predictions are `score/<part>` `[b]`, NaN where a row lacks the part.

    `tune` finds on the normal validation rows how large each part's scores are, and which total no
    more than a share `false_alarm_rate` of them is above. The total is the mean of the standardised
    scores of the parts that a row has, or the "max"; 0 for a row that has none.
    """

    target: str = "label"
    normal: str = "normal"
    """The label of rows that are as they should be."""
    false_alarm_rate: float = 0.05
    combine: Literal["mean", "max"] = "mean"
    label_names: tuple[str, ...] = fact(())
    score_means: Mapping[str, Any] = given()
    score_deviations: Mapping[str, Any] = given()
    threshold: float | None = fact(None)
    """Those three are what `tune` chose."""

    headline: ClassVar[tuple[str, ...]] = ("auroc", "ap", "detection_rate", "false_alarm_rate")
    needs_target: ClassVar[bool] = False

    def anomalous(self, targets: Mapping[str, np.ndarray], rows: int) -> Bool[np.ndarray, "n"]:
        """Which rows are known not to be normal; none without a target."""
        if self.target not in targets:
            return np.zeros(rows, bool)
        return np.asarray(targets[self.target]) != self.label_names.index(self.normal)

    def total(self, predictions: Mapping[str, np.ndarray]) -> Float[np.ndarray, "n"]:
        """The score of each row as a whole, in float64."""
        return self.answers().total(predictions)

    def tune(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Mean and deviation of each part's score on normal rows, and the threshold of the total.

        Without a target all rows are taken for normal. Without a normal row: nothing.
        """
        scores = scores_of(predictions)
        normal = ~self.anomalous(targets, len(next(iter(scores.values()))))
        if not normal.any():
            logger.warning("no validation row is normal: there is no threshold")
            return {}
        means, deviations = {}, {}
        for part, one in scores.items():
            own = one[normal & np.isfinite(one)]
            mean = float(own.mean()) if len(own) else 0.0
            deviation = float(own.std()) if len(own) else 0.0
            if deviation <= 1e-9 * abs(mean) or deviation == 0:
                logger.warning("all normal rows have the same score in '%s'", part)
                deviation = 1.0
            means[part], deviations[part] = mean, deviation
        total = Alarms(self.combine, means, deviations).total(predictions)
        return {
            "score_means": means,
            "score_deviations": deviations,
            "threshold": threshold_at(total[normal], self.false_alarm_rate),
        }

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`mean_score`, of normal rows over the parts that they have, as it stands."""
        totals = [float(v) for name, v in sums.items() if name.startswith("score_sum_of_")]
        counts = [float(v) for name, v in sums.items() if name.startswith("rows_of_")]
        rows = max(float(sums["rows"]), 1.0)
        found = {"mean_score": sum(totals) / max(sum(counts), 1.0)}
        if "relative_distance" in sums:
            found["relative_distance"] = float(sums["relative_distance"]) / rows
        return found

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Every metric of `mmjax.metrics.anomaly` over all rows, and `<part>_auroc` of each part.

        Without a target only how many rows are above the threshold.
        """
        total, labels = self.total(predictions), None
        if self.target in targets:
            labels = np.asarray(targets[self.target])
        anomalous = self.anomalous(targets, len(total))
        found = anomaly(
            total,
            anomalous,
            threshold=self.threshold,
            kinds=labels,
            kind_names=self.label_names,
        )
        if labels is None:
            return {name: found[name] for name in ("alarm_rate", "threshold")}
        for part, one in scores_of(predictions).items():
            known = np.isfinite(one)
            own = float("nan")
            if known.any():
                own = anomaly(one[known], anomalous[known])["auroc"]
            found[f"{part}_auroc"] = own
        return found

    def answers(self) -> Alarms:
        return Alarms(
            self.combine, self.score_means, self.score_deviations, threshold=self.threshold
        )
