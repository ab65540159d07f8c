"""Replies in a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmjax.metrics.dialogue import dialogue
from mmjax.tasks.generation import Generation


class Dialogue(Generation, kw_only=True):
    """What is said next; `mmjax.metrics.dialogue`, beside the perplexity of the true replies.

    What was said before is a modality, or several: a `text` that holds the turns, the utterances of
    other rows (`dialogue`), pictures or speech of a turn, or known answers that were retrieved.
    """

    headline: ClassVar[tuple[str, ...]] = ("f1", "perplexity", "distinct_2")

    def judge(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        groups: Sequence[str] | None,
    ) -> dict[str, float]:
        return dialogue(predictions, references)
