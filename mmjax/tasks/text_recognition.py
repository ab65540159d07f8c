"""What is written in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmjax.metrics.speech import speech
from mmjax.metrics.texts import exact_match
from mmjax.tasks.generation import Generation


class TextRecognition(Generation, kw_only=True):
    """The text of handwriting or of print (TrOCR, Li et al. 2023: an image encoder and a decoder
    that looks at its patches); `mmjax.metrics.speech` and exact match.

    Rates are of a row's first reference; `lower_case` and `punctuation` are those of the metrics.
    """

    lower_case: bool = False
    punctuation: bool = True

    headline: ClassVar[tuple[str, ...]] = ("cer", "wer", "exact_match")

    def judge(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        groups: Sequence[str] | None,
    ) -> dict[str, float]:
        first = [row[0] for row in references]
        return {
            **speech(predictions, first, lower_case=self.lower_case, punctuation=self.punctuation),
            "exact_match": exact_match(predictions, references),
        }
