"""Sums on the device, division on the host.

- Host functions take NumPy arrays and return a flat `{name: float}` in float64: `classification`,
  `multi_label`, `ordinal`, `regression` (and `quantile_regression`), `retrieval` (and
  `retrieval_of_embeddings`), `ranking`, `entities`, `relations`,
  `events`, `segments`, `detection`, `anomaly`, `sentiment`, and `unigram`, a baseline.
- Of generated texts: `captions`, `translation`, `summaries`, `dialogue`, `speech`, `chrf` and
  `exact_match` take texts, and for each row what it could have said.
- `sums`, `label_sums` and `number_sums` hold their counterparts for use inside jit: sums over the
  rows of a batch, which add up over batches and hosts, and a host function that divides them once.
- `mean_and_spread` and `bootstrap_interval` say how far a number can be trusted; `mcnemar`,
  `difference` (of a paired bootstrap) and `holm` whether one model is better than another.

A metric that is not defined on the rows given (AUROC with one class) is NaN, never left out, so
the names of a run's metrics do not depend on its data.
"""

from mmjax.metrics.anomaly import anomaly
from mmjax.metrics.calibration import calibration_bins, expected_calibration_error
from mmjax.metrics.captions import captions
from mmjax.metrics.chrf import chrf
from mmjax.metrics.confusion import confusion_matrix
from mmjax.metrics.detection import detection
from mmjax.metrics.dialogue import dialogue
from mmjax.metrics.entities import entities
from mmjax.metrics.events import events
from mmjax.metrics.language import unigram
from mmjax.metrics.multi_label import multi_label
from mmjax.metrics.ordinal import ordinal
from mmjax.metrics.paired import difference, holm, mcnemar
from mmjax.metrics.question_answering import question_answering
from mmjax.metrics.ranking import ranking
from mmjax.metrics.regression import quantile_regression, regression
from mmjax.metrics.relations import relations
from mmjax.metrics.retrieval import retrieval, retrieval_of_embeddings
from mmjax.metrics.segments import segments
from mmjax.metrics.selection import selection
from mmjax.metrics.sentiment import sentiment
from mmjax.metrics.significance import (
    bootstrap_interval,
    bootstrap_interval_of_mean,
    mean_and_spread,
)
from mmjax.metrics.single_label import classification
from mmjax.metrics.speech import speech
from mmjax.metrics.summaries import summaries
from mmjax.metrics.texts import exact_match
from mmjax.metrics.translation import translation
from mmjax.metrics.vqa import vqa

__all__ = [
    "anomaly",
    "bootstrap_interval",
    "bootstrap_interval_of_mean",
    "calibration_bins",
    "captions",
    "chrf",
    "classification",
    "confusion_matrix",
    "detection",
    "dialogue",
    "difference",
    "entities",
    "events",
    "exact_match",
    "expected_calibration_error",
    "holm",
    "mcnemar",
    "mean_and_spread",
    "multi_label",
    "ordinal",
    "quantile_regression",
    "question_answering",
    "ranking",
    "regression",
    "relations",
    "retrieval",
    "retrieval_of_embeddings",
    "segments",
    "selection",
    "sentiment",
    "speech",
    "summaries",
    "translation",
    "unigram",
    "vqa",
]
