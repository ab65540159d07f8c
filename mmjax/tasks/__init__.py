"""Fine-tuning tasks: head, loss, metrics and post-processing of one task, one file each.

A task is a `base.Task`, a Linen module called as `task(fused, batch, train=...) -> TaskOutput`. It
has two halves, which may be used apart:

- `head_outputs(fused, train=...)`, the only method with parameters, reads `Fused` and returns one
  array of outputs, such as logits `[b v]`;
- `output(outputs, batch)` makes loss, sums and predictions of outputs, wherever they came from. A
  batch without the target gives a loss of 0 and predictions only.

So a decision-level model gives each modality a head of its own and judges the combination of their
outputs by the same `output`. For that, a task says what its outputs are (`outputs_are`: "classes",
"labels" or "values"; None where there is no combining them), and, where it can, the `truth` in the
same form and the `log_prior` of its classes.

Off the device a task offers `compute(sums)`, the metrics of summed `TaskOutput.metrics` (a subclass
writes `compute_own`), `evaluate(predictions, targets)`, the metrics that need every row,
`decode(predictions, texts)`, one JSON-able dictionary a row, and `tune(predictions, targets)`, what
is chosen on the validation rows once a run is trained, such as thresholds.

To add one: a file with the module, and a line below.
"""

from __future__ import annotations

from typing import Annotated, Any

from mmjax.core.registry import Registry, Spec

registry = Registry(
    "task",
    {
        "anomaly": "mmjax.tasks.anomaly:Anomaly",
        "classification": "mmjax.tasks.classification:Classification",
        "detection": "mmjax.tasks.detection:Detection",
        "distilled_classification": "mmjax.tasks.distilled:DistilledClassification",
        "distilled_multi_label": "mmjax.tasks.distilled:DistilledMultiLabel",
        "distilled_regression": "mmjax.tasks.distilled:DistilledRegression",
        "event_extraction": "mmjax.tasks.event_extraction:EventExtraction",
        "multi_label": "mmjax.tasks.multi_label:MultiLabel",
        "ordinal": "mmjax.tasks.ordinal:Ordinal",
        "recommendation": "mmjax.tasks.recommendation:Recommendation",
        "several": "mmjax.tasks.several:Several",
        "sequential_recommendation": (
            "mmjax.tasks.sequential_recommendation:SequentialRecommendation"
        ),
        "regression": "mmjax.tasks.regression:Regression",
        "relation_extraction": "mmjax.tasks.relation_extraction:RelationExtraction",
        "sentiment": "mmjax.tasks.sentiment:Sentiment",
        "sentiment_classes": "mmjax.tasks.sentiment:SentimentClasses",
        "time_tagging": "mmjax.tasks.time_tagging:TimeTagging",
        "token_classification": "mmjax.tasks.token_classification:TokenClassification",
        "vqa": "mmjax.tasks.vqa:VQA",
        "extractive_qa": "mmjax.tasks.extractive_qa:ExtractiveQA",
        "answer_selection": "mmjax.tasks.answer_selection:AnswerSelection",
        "captioning": "mmjax.tasks.captioning:Captioning",
        "dialogue": "mmjax.tasks.dialogue:Dialogue",
        "generative_vqa": "mmjax.tasks.generative_vqa:GenerativeVQA",
        "speech_recognition": "mmjax.tasks.speech_recognition:SpeechRecognition",
        "speech_recognition_ctc": "mmjax.tasks.speech_recognition_ctc:SpeechRecognitionCTC",
        "summarization": "mmjax.tasks.summarization:Summarization",
        "text_recognition": "mmjax.tasks.text_recognition:TextRecognition",
        "translation": "mmjax.tasks.translation:Translation",
    },
)

TaskSpec = Annotated[Spec, registry]


def build(name: str, **options: Any):
    """The task registered under `name`, as a Linen module."""
    return registry.build(name, **options)
