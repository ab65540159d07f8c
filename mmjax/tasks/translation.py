"""Translation of texts, with pictures or without, into one language or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mmjax.metrics.texts import exact_match
from mmjax.metrics.translation import Tokens, translation
from mmjax.tasks.generation import Generation


class Translation(Generation, kw_only=True):
    """A text in another language; `mmjax.metrics.translation` and exact match.

    For several languages, the target's `also` names the column of each row's, by which it is judged
    as well. That it is written in, a modality must tell, such as a table of that column, best named
    in `before`. `tokens` says how BLEU cuts words; by the language if None.
    """

    tokens: Tokens | None = None

    headline: ClassVar[tuple[str, ...]] = ("chrf", "bleu", "exact_match")

    def judge(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        groups: Sequence[str] | None,
    ) -> dict[str, float]:
        return {
            **translation(predictions, references, languages=groups, tokens=self.tokens),
            "exact_match": exact_match(predictions, references),
        }
