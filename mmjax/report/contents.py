"""What a report shows, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import DataError, nearest
from mmjax.report.embedding_map import EmbeddingMap
from mmjax.report.searches import Query, Way


@dataclasses.dataclass(frozen=True)
class Explained:
    """What a method says of a row: a line, and a picture as PNG."""

    method: str
    said: str = ""
    picture: bytes = b""


@dataclasses.dataclass(frozen=True)
class Slice:
    """The rows that have something in common, and the headline metric on them."""

    column: str
    name: str
    rows: int
    value: float
    interval: tuple[float, float] | None = None
    """95 %, over rows."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One row and what the model made of it; `label` is None where nobody knows."""

    row: int
    prediction: str
    probability: float | None = None
    label: str | None = None
    id: str = ""
    fields: Mapping[str, str] = dataclasses.field(default_factory=dict)
    images: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """uint8 [h w], [h w 3] or [h w 4]; a modality that the row lacks is left out."""
    top: Sequence[tuple[str, float]] = ()
    """The likeliest labels with their probabilities, best first."""
    labels: Sequence[str] = ()
    """Those that the row has, where it may have several."""
    group: str = ""
    """The heading that it is shown under where answers are not just right or wrong."""
    loss: float | None = None
    sounds: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """WAV files, played from the page."""
    explanations: Sequence[Explained] = ()

    @property
    def correct(self) -> bool | None:
        return None if self.label is None or self.group else self.label == self.prediction


@dataclasses.dataclass(frozen=True)
class ReportContents:
    """Everything on the page. Only `title` and `results` are required.

    `results` maps a model's name to its flat metrics; several make the page a comparison. Curves,
    classes, calibration and examples are those of `model`.
    """

    title: str
    results: Mapping[str, Mapping[str, float]]
    model: str = ""
    """The model that the page is about; the last of `results` if empty."""
    headline: str = "accuracy"
    """The metric that the page opens with."""
    split: str = "test"
    rows: int | None = None
    """Rows of the split."""
    intervals: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """95 % intervals of the headline metric by model."""
    spread: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    """Sample standard deviations over seeds, where `results` are means over seeds."""
    baseline: float | None = None
    """The headline metric of the majority class; from `confusion` if None."""
    baseline_name: str = "majority class"
    run_folder: str = ""
    usage: Sequence[str] = ()
    """Lines that load and use the run."""
    curves: Sequence[Mapping[str, Any]] = ()
    """Records of metrics.jsonl."""
    best_step: int | None = None
    label_names: Sequence[str] = ()
    confusion: np.ndarray | None = None
    """[c c] counts, rows by true class."""
    calibration: np.ndarray | None = None
    """[3 bins] as `mmjax.metrics.calibration_bins` returns them."""
    examples: Sequence[Example] = ()
    numbers: Mapping[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)
    """What was true and what was predicted, both [n], of each number that is predicted."""
    objectives: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Of a pretraining run, what to tell of each objective: settings, and metrics on the split."""
    ways: Sequence[Way] = ()
    """How well each modality finds each other."""
    queries: Sequence[Query] = ()
    metric_intervals: Mapping[str, Mapping[str, tuple[float, float]]] = dataclasses.field(
        default_factory=dict
    )
    """95 % intervals by model and metric, over rows."""
    precision_recall: Mapping[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(
        default_factory=dict
    )
    """Recall and precision, both [n], of each label."""
    slices: Sequence[Slice] = ()
    subgroups: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What `mmjax evaluate --by` wrote to `subgroups.json`."""
    presence: Mapping[str, Mapping[str, tuple[int, int]]] = dataclasses.field(default_factory=dict)
    """Of each modality and split, the rows that have it, and those that were looked at."""
    leaks: Sequence[str] | None = None
    """Lines that tell of rows in two splits; None if nobody looked."""
    maps: Sequence[EmbeddingMap] = ()
    costs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Throughput, memory, and what compiling took."""
    remarks: Sequence[str] = ()
    """Sentences below the models that are compared."""
    paired: str = ""
    """Markup of paired tests (`comparisons.section`)."""
    robustness: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What `robustness.json` holds: scores as inputs are made worse."""
    modalities: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What `modalities.json` holds: scores of every subset of the modalities."""
    data_summary: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.results:
            raise DataError(550, "a report without results", fix="give the metrics of one model")
        if self.model and self.model not in self.results:
            raise DataError(
                550, f"no results of model '{self.model}'", fix=nearest(self.model, self.results)
            )
        count = len(self.label_names)
        if self.confusion is not None and np.shape(self.confusion) != (count, count):
            raise DataError(
                550,
                f"confusion has shape {list(np.shape(self.confusion))}",
                fix=f"expected [{count} {count}] for the {count} label names",
            )
        for name, (truth, found) in self.numbers.items():
            if np.ndim(truth) != 1 or np.shape(truth) != np.shape(found):
                raise DataError(
                    550,
                    f"'{name}' has {list(np.shape(truth))} numbers, {list(np.shape(found))} found",
                    fix="expected [n] of both",
                )
        for example in self.examples:
            for name, image in example.images.items():
                _require_picture(image, name, f"example of row {example.row}")
        for query in self.queries:
            for seen in (query.seen, *(hit.seen for hit in query.found)):
                if seen.image is not None:
                    _require_picture(seen.image, query.way, f"query of row {seen.row}")

    @property
    def subject(self) -> str:
        """The name of the model that the page is about."""
        return self.model or list(self.results)[-1]

    @property
    def metrics(self) -> Mapping[str, float]:
        return self.results[self.subject]

    @property
    def majority(self) -> float | None:
        """The headline metric of always answering with the commonest class, if known."""
        if self.baseline is not None or self.headline != "accuracy" or self.confusion is None:
            return self.baseline
        support = np.asarray(self.confusion, np.float64).sum(axis=1)
        return float(support.max() / support.sum()) if support.sum() else None


def _require_picture(image: Any, name: str, where: str) -> None:
    shape = np.shape(image)
    colours = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    if getattr(image, "dtype", None) != np.uint8 or not colours or 0 in shape:
        raise DataError(
            550,
            f"image '{name}' is {getattr(image, 'dtype', type(image))} {list(shape)}",
            where=where,
            fix="expected uint8 [h w], [h w 3] or [h w 4]",
        )
