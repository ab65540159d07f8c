"""Questions whose answers are written: about pictures, sounds or tables, about texts, or open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from mmjax.data.answer_text import leave_one_out, normalise_answer
from mmjax.metrics.question_answering import Language, question_answering
from mmjax.tasks.generation import Generation


class GenerativeVQA(Generation, kw_only=True):
    """The answer to a question, in words.

    `exact_match` and `f1` are those of `mmjax.metrics.question_answering`, against the nearest of
    the answers that a row has; `vqa_accuracy` is that of VQA (Antol et al. 2015), which asks how
    many annotators gave the answer, both in its normal form. With groups (the target's `also`, such
    as the type of the question), `vqa_accuracy/<group>` for each.
    """

    language: Language = "en"

    headline: ClassVar[tuple[str, ...]] = ("vqa_accuracy", "exact_match", "f1")

    def judge(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        groups: Sequence[str] | None,
    ) -> dict[str, float]:
        whole = question_answering(predictions, references, language=self.language)
        scores = np.array(
            [_agreement(said, true) for said, true in zip(predictions, references, strict=True)]
        )
        found = {name: whole[name] for name in ("exact_match", "f1")}
        found["vqa_accuracy"] = float(scores.mean()) if len(scores) else float("nan")
        for name in sorted(set(groups or ())):
            own = np.array([one == name for one in groups or ()])
            found[f"vqa_accuracy/{name}"] = float(scores[own].mean())
        return found


def _agreement(said: str, answers: Sequence[str]) -> float:
    plain = normalise_answer(said)
    given = sum(normalise_answer(one) == plain for one in answers)
    return leave_one_out(given, len(answers))
