"""Summaries of texts, with pictures or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmjax.metrics.summaries import summaries
from mmjax.tasks.generation import Generation


class Summarization(Generation, kw_only=True):
    """A text that says in short what the others say; `mmjax.metrics.summaries`.

    `stemmer` and `any_script` are those of the metrics.
    """

    stemmer: bool = False
    any_script: bool = False

    headline: ClassVar[tuple[str, ...]] = ("rouge_1", "rouge_2", "rouge_l")

    def judge(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        groups: Sequence[str] | None,
    ) -> dict[str, float]:
        return summaries(predictions, references, stemmer=self.stemmer, any_script=self.any_script)
