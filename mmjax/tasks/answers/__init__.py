"""From predictions to answers: the last step of a task, as plain data and NumPy alone.

`Task.answers()` gives a `base.Answers`: a frozen dataclass whose fields are names and numbers, and
whose `decode(predictions, texts)` makes one JSON-able dictionary a row. It needs neither the model
nor Flax, so that an exported model keeps it as JSON (`to_data`) and answers as the run did
(`from_data`).

To add one: the dataclass in a file here, and a line below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmjax.core.errors import ConfigError
from mmjax.core.files import as_tuples
from mmjax.core.registry import Registry

registry = Registry(
    "answers",
    {
        "alarms": "mmjax.tasks.answers.alarms:Alarms",
        "boxes": "mmjax.tasks.answers.boxes:Boxes",
        "choices": "mmjax.tasks.answers.classes:Choices",
        "classes": "mmjax.tasks.answers.classes:Classes",
        "ctc_texts": "mmjax.tasks.answers.written:CtcTexts",
        "events": "mmjax.tasks.answers.parts:Events",
        "extracts": "mmjax.tasks.answers.parts:Extracts",
        "items": "mmjax.tasks.answers.items:Items",
        "labels": "mmjax.tasks.answers.classes:Labels",
        "numbers": "mmjax.tasks.answers.numbers:Numbers",
        "ranks": "mmjax.tasks.answers.classes:Ranks",
        "relations": "mmjax.tasks.answers.parts:Relations",
        "scores": "mmjax.tasks.answers.items:Scores",
        "segments": "mmjax.tasks.answers.segments:Segments",
        "sentiment": "mmjax.tasks.answers.numbers:SentimentScores",
        "several": "mmjax.tasks.answers.several:Several",
        "spans": "mmjax.tasks.answers.parts:Spans",
        "texts": "mmjax.tasks.answers.written:Texts",
        "valued_classes": "mmjax.tasks.answers.classes:ValuedClasses",
        "vectors": "mmjax.tasks.answers.vectors:Vectors",
    },
)

_KIND = "@kind"
"""The key of a kind's name, which none of its fields nor any task can have."""


def to_data(answers: Any) -> dict[str, Any]:
    """JSON values of an `Answers`. Raises ConfigError for one that is not registered."""
    place = f"{type(answers).__module__}:{type(answers).__qualname__}"
    kind = next((name for name in registry if _place(name) == place), None)
    if kind is None:
        raise ConfigError(
            109, f"{type(answers).__name__} is no registered kind of answers", fix="register it"
        )
    fields = {f.name: getattr(answers, f.name) for f in dataclasses.fields(answers)}
    return {_KIND: kind, **{name: _plain(value) for name, value in fields.items()}}


def from_data(data: Mapping[str, Any]) -> Any:
    """The `Answers` of what `to_data` gave."""
    options = {name: _built(value) for name, value in data.items() if name != _KIND}
    return registry.build(data[_KIND], **options)


def _place(name: str) -> str:
    cls = registry.load(name)
    return f"{cls.__module__}:{cls.__qualname__}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_data(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _built(value: Any) -> Any:
    if isinstance(value, Mapping):
        if _KIND in value:
            return from_data(value)
        return {key: _built(inner) for key, inner in value.items()}
    return as_tuples(value)
