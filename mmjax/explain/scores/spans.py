"""An answer that is a part of a text: where it begins and ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen
from mmjax.tasks.answer_ranges import ends, first_and_last
from mmjax.tasks.extractive_qa import ExtractiveQA
from mmjax.tasks.spans import offsets_of


class Answer(Score):
    """The log-probability of the start and the end of the answer, or of there being none."""

    about = "the log-probability of where the answer begins and ends, or that there is none"
    has_probability: ClassVar[bool] = True

    def fits(self, task: Any) -> bool:
        return isinstance(task, ExtractiveQA)

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        if of is not None:
            raise ConfigError(109, f"nothing called '{of}' to explain", where="of", fix="no name")
        offsets = offsets_of(seen.batch, seen.task.text, seen.outputs["span"].shape[1])
        found = seen.predictions
        first, last, known = first_and_last(offsets, found["spans"][:, 0])
        empty = seen.task.answers().empty(found["scores"][:, 0], found["none"])
        return {
            "first": first.astype(jnp.int32),
            "last": last.astype(jnp.int32),
            "none": (empty | ~known).astype(jnp.int32),
        }

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        offsets = offsets_of(seen.batch, seen.task.text, seen.outputs["span"].shape[1])
        valid = offsets[..., 1] > offsets[..., 0]
        log_p = ends(seen.outputs["span"], seen.outputs.get("none"), valid)
        start, end = (
            jnp.take_along_axis(values, choice[place][:, None], axis=1)[:, 0]
            for values, place in ((log_p.start, "first"), (log_p.end, "last"))
        )
        none = log_p.none.sum(axis=1) if seen.task.unanswerable else jnp.zeros_like(start)
        found = jnp.where(choice["none"] > 0, none, start + end)
        return jnp.exp(found) if scale == "probability" else found

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        said = [str(one.get("answer") or "") for one in answers]
        return [
            f"log-probability of the answer '{one}'" if one else "log-probability of no answer"
            for one in said
        ]
