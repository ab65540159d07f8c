"""The short forms that `mmjax.pipeline` knows: what each is asked, and how it answers.

To add one, write its answer, a function of what the task decodes for a row, and a line of `FORMS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
"""What a task's `decode` gives for one row."""


def classes(row: Row, *, top_k: int | None = 1, threshold: float = 0.0) -> list[dict[str, Any]]:
    """`[{"label", "score"}, ...]`, likeliest first."""
    ordered = sorted(row["probabilities"].items(), key=lambda one: -one[1])
    found = [{"label": name, "score": share} for name, share in ordered if share >= threshold]
    return found[:top_k]


def several_classes(row: Row, *, top_k: int | None = 5, threshold: float = 0.0) -> Any:
    """As `classes`, five of them."""
    return classes(row, top_k=top_k, threshold=threshold)


def spans(row: Row, *, threshold: float = 0.0) -> list[dict[str, Any]]:
    """`[{"entity_group", "score", "word", "start", "end"}, ...]`, characters of the text."""
    return [
        {
            "entity_group": one["label"],
            "score": one["score"],
            "word": one["text"],
            "start": one["start"],
            "end": one["end"],
        }
        for one in row["spans"]
        if one["score"] >= threshold
    ]


def answer_span(row: Row, *, top_k: int = 1) -> Any:
    """`{"score", "start", "end", "answer"}`; a list of them with `top_k` above 1."""
    ranked = [row] if top_k == 1 else row["answers"]
    found = [
        {
            "score": one["probability"],
            "start": one["start"],
            "end": one["end"],
            "answer": one["answer"],
        }
        for one in ranked[:top_k]
    ]
    return found[0] if top_k == 1 else found


def answers(row: Row, *, top_k: int = 5) -> list[dict[str, Any]]:
    """`[{"score", "answer"}, ...]`, likeliest first; a written answer is the only one."""
    if "text" in row:
        return [{"score": row["score"], "answer": row["text"]}]
    return [
        {"score": one["probability"], "answer": one["answer"]} for one in row["answers"][:top_k]
    ]


def items(row: Row, *, top_k: int = 10) -> list[dict[str, Any]]:
    """`[{"item", "score"}, ...]`, best first."""
    pairs = zip(row["items"], row["scores"], strict=True)
    return [{"item": item, "score": score} for item, score in pairs][:top_k]


def boxes(row: Row, *, threshold: float = 0.0) -> list[dict[str, Any]]:
    """`[{"score", "label", "box": {"xmin", "ymin", "xmax", "ymax"}}, ...]`, shares of the sides."""
    return [
        {
            "score": one["score"],
            "label": one["label"],
            "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), one["box"], strict=True)),
        }
        for one in row["boxes"]
        if one["score"] >= threshold
    ]


def segments(row: Row, *, threshold: float = 0.0) -> list[dict[str, Any]]:
    """`[{"start", "end", "label", "score"}, ...]`, in seconds."""
    return [one for one in row["segments"] if one["score"] >= threshold]


def transcript(row: Row) -> dict[str, Any]:
    """`{"text"}`."""
    return {"text": row["text"]}


def _written(name: str) -> Callable[..., Any]:
    return lambda row: [{name: row["text"]}]


def as_decoded(row: Row) -> Row:
    """What the task itself says."""
    return row


@dataclasses.dataclass(frozen=True)
class Form:
    """A short form."""

    tasks: tuple[str, ...]
    """Tasks of a run that it puts to use; none for what a joint space or an encoder does."""
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What a call may name, and of which kind that is; a value without a name is the first."""
    answer: Callable[..., Any] = as_decoded
    """Of a decoded row; its keywords are options of the pipeline and of each call."""
    folders: bool = False
    """Whether a Hugging Face folder will do as well."""


_CLASSES = (
    "classification",
    "distilled_classification",
    "ordinal",
    "multi_label",
    "distilled_multi_label",
    "sentiment_classes",
)
_OF_TEXTS = ("translation", "summarization", "dialogue")
_QA = {"question": "text", "context": "text"}

FORMS: dict[str, Form] = {
    "text-classification": Form(_CLASSES, {"text": "text"}, classes),
    "image-classification": Form(_CLASSES, {"image": "image"}, several_classes),
    "audio-classification": Form(_CLASSES, {"audio": "audio"}, several_classes),
    "video-classification": Form(_CLASSES, {"video": "video"}, several_classes),
    "multimodal-classification": Form(_CLASSES, {}, several_classes),
    "multimodal-regression": Form(("regression", "distilled_regression", "sentiment")),
    "anomaly-detection": Form(("anomaly",)),
    "several-tasks": Form(("several",)),
    "object-detection": Form(("detection",), {"image": "image"}, boxes),
    "time-tagging": Form(("time_tagging",), {}, segments),
    "token-classification": Form(("token_classification",), {"text": "text"}, spans),
    "relation-extraction": Form(("relation_extraction",), {"text": "text"}),
    "event-extraction": Form(("event_extraction",), {"text": "text"}),
    "question-answering": Form(("extractive_qa",), _QA, answer_span),
    "visual-question-answering": Form(
        ("vqa", "generative_vqa"), {"image": "image", "question": "text"}, answers
    ),
    "answer-selection": Form(
        ("answer_selection",), {"question": "text", "answer": "text", "context": "text"}
    ),
    "recommendation": Form(("recommendation", "sequential_recommendation"), {}, items),
    "image-to-text": Form(
        ("captioning", "text_recognition"),
        {"image": "image"},
        _written("generated_text"),
        folders=True,
    ),
    "automatic-speech-recognition": Form(
        ("speech_recognition", "speech_recognition_ctc"),
        {"audio": "audio"},
        transcript,
        folders=True,
    ),
    "translation": Form(_OF_TEXTS[:1], {"text": "text"}, _written("translation_text"), True),
    "summarization": Form(_OF_TEXTS[1:2], {"text": "text"}, _written("summary_text"), True),
    "conversational": Form(_OF_TEXTS[2:], {"text": "text"}, _written("generated_text"), True),
    "text-generation": Form(_OF_TEXTS[2:], {"text": "text"}, _written("generated_text"), True),
    "text2text-generation": Form(_OF_TEXTS, {"text": "text"}, _written("generated_text"), True),
    "zero-shot-image-classification": Form((), {"image": "image"}, several_classes, folders=True),
    "feature-extraction": Form((), {"text": "text"}, folders=True),
    "image-feature-extraction": Form((), {"image": "image"}, folders=True),
}
ALIASES = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "vqa": "visual-question-answering",
    "tabular-classification": "multimodal-classification",
    "tabular-regression": "multimodal-regression",
}
ZERO_SHOT = "zero-shot-image-classification"
SPEECH = "automatic-speech-recognition"
FEATURES = ("feature-extraction", "image-feature-extraction")
