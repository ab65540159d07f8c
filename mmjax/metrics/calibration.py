"""Does a confidence of 0.8 mean right four times in five?"""

from __future__ import annotations

import numpy as np

from mmjax.core.typing import Float, Int
from mmjax.metrics.inputs import labels_in_range, probability_rows, row_weights


def bin_edges(bins: int) -> np.ndarray:
    """The inner edges of `bins` equal bins of (0, 1], in float32 so that device and host agree."""
    return np.linspace(0, 1, bins + 1, dtype=np.float32)[1:-1]


def calibration_bins(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"],
    *,
    bins: int = 15,
    weights: Float[np.ndarray, "n"] | None = None,
) -> np.ndarray:
    """Sums [3 bins] of weight, confidence and correctness in equal bins of the top probability.

    A bin is closed on the right: bin m of M takes confidences in ((m - 1) / M, m / M].
    """
    probabilities = probability_rows(probabilities)
    labels = labels_in_range(labels, probabilities.shape[1])
    weights = row_weights(weights, len(labels))
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    where = np.searchsorted(bin_edges(bins).astype(np.float64), confidence, side="left")
    rows = (weights, weights * confidence, weights * correct)
    return np.stack([np.bincount(where, weights=row, minlength=bins) for row in rows])


def expected_calibration_error(calibration: Float[np.ndarray, "3 bins"]) -> float:
    """Mean over rows of |confidence - accuracy| of their bin, from the sums of `calibration_bins`.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    weight, confidence, correct = np.asarray(calibration, np.float64)
    return float(np.abs(confidence - correct).sum() / weight.sum())
