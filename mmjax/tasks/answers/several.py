"""The answers of several tasks at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mmjax.tasks.answers.base import Answers, Predictions, Rows, RowTexts


@dataclasses.dataclass(frozen=True)
class Several:
    """What each task says, by its name; its predictions are called `<name>/...`."""

    parts: Mapping[str, Answers] = dataclasses.field(default_factory=dict)

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{name: what the task says}` of each row."""
        own = {
            name: part.decode(
                {
                    key.removeprefix(f"{name}/"): value
                    for key, value in predictions.items()
                    if key.startswith(f"{name}/")
                },
                texts,
            )
            for name, part in self.parts.items()
        }
        return [dict(zip(own, row, strict=True)) for row in zip(*own.values(), strict=True)]
