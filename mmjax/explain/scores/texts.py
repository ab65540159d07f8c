"""Texts: how likely the one that is written is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen
from mmjax.tasks.generation import Generation
from mmjax.tasks.speech_recognition_ctc import SpeechRecognitionCTC


class Text(Score):
    """The log-probability of the ids that the model writes; by CTC, over all of their paths.

    Each row is asked alone: it is minus the loss of a batch of that row with the text as target.
    Of several texts a row the first is explained.
    """

    about = "the log-probability of the text that is written"
    row_by_row: ClassVar[bool] = True

    def fits(self, task: Any) -> bool:
        return isinstance(task, (Generation, SpeechRecognitionCTC))

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        if of is not None:
            raise ConfigError(
                109,
                f"nothing called '{of}' to explain",
                where="of",
                fix="leave it out: of a task that writes, the text that it writes is explained",
            )
        ids, lengths = seen.predictions["ids"], seen.predictions["lengths"]
        if ids.ndim == 3:
            ids, lengths = ids[:, 0], lengths[:, 0]
        return jnp.where(jnp.arange(ids.shape[1]) < lengths[:, None], ids, -1)

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        """Of a batch of one row whose target is the text."""
        assert seen.whole is not None
        return (-seen.whole.loss * seen.whole.weight).astype(jnp.float32)[None]

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        return [f"log-probability of '{one.get('text', '')}'" for one in answers]
