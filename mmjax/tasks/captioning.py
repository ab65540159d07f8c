"""Captions of pictures, sounds and videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmjax.metrics.captions import Words, captions
from mmjax.metrics.texts import exact_match
from mmjax.tasks.generation import Generation


class Captioning(Generation, kw_only=True):
    """A text that says what is in the other modalities; `mmjax.metrics.captions` and exact match.

    `words` says how captions are cut into words, "characters" for languages without blanks.
    """

    words: Words = "ptb"

    headline: ClassVar[tuple[str, ...]] = ("cider", "chrf", "bleu_4", "exact_match")

    def judge(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        groups: Sequence[str] | None,
    ) -> dict[str, float]:
        return {
            **captions(predictions, references, words=self.words),
            "exact_match": exact_match(predictions, references),
        }
