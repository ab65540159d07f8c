"""Tags of words, or of steps in time: how sure those of what was found are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.explain.scores.base import Choice, Scale, Score, Seen, of_one
from mmjax.tasks.event_extraction import EventExtraction
from mmjax.tasks.spans import offsets_of
from mmjax.tasks.tagger import Tagger, read, to_words
from mmjax.tasks.tagging import tag_count, words_of
from mmjax.tasks.time_tagging import TimeTagging
from mmjax.tasks.token_classification import TokenClassification


class _Tagged(NamedTuple):
    logits: Float[Array, "b n v"]
    valid: Bool[Array, "b n"]
    tags: Int[Array, "b n"]
    """What is said of each."""


class Tags(Score):
    """The mean over the words (steps) that have a name of the log-odds of their tags; where nothing
    is found, over all words.

    With `of`, of those that have that name; where none has, of the one that comes nearest to it.
    Of events the triggers are explained, of steps of several labels the likeliest of each.
    """

    about = "the mean log-odds of the tags of what is found; of all words or steps where nothing is"
    has_probability: ClassVar[bool] = True

    def fits(self, task: Any) -> bool:
        return isinstance(task, (TokenClassification, EventExtraction, TimeTagging))

    def names(self, task: Any) -> tuple[str, ...]:
        for field in ("span_names", "type_names", "segment_names"):
            if hasattr(task, field):
                return tuple(getattr(task, field))
        return ()

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        found = _tagged(seen)
        logits, valid, tags = found
        kinds = jnp.asarray(self._kinds(seen.task))
        if of is not None:
            fits = kinds == self.place(seen.task, of)
            own = valid & fits[tags]
            wanted = jnp.where(fits & valid[..., None], logits, -jnp.inf).max(axis=-1)
            nearest = jax.nn.one_hot(wanted.argmax(axis=1), logits.shape[1], dtype=bool)
            own = jnp.where(own.any(axis=1, keepdims=True), own, nearest & valid)
            best = jnp.where(fits, logits, -jnp.inf).argmax(axis=-1)
            tags = jnp.where(fits[tags], tags, best)
        else:
            own = valid & (kinds[tags] >= 0)
            if _independent(seen.task):
                own &= logits.max(axis=-1) > 0
            own = jnp.where(own.any(axis=1, keepdims=True), own, valid)
        return {"tags": tags.astype(jnp.int32), "counts": own.astype(jnp.int32)}

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        alone = _independent(seen.task)
        each = of_one(_tagged(seen).logits, choice["tags"], scale, independent=alone)
        whole = jnp.where(choice["counts"] > 0, each, 0).sum(axis=1)
        return whole / jnp.maximum(choice["counts"].sum(axis=1), 1)

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        names, kinds = self.names(task), self._kinds(task)
        what = "steps" if isinstance(task, TimeTagging) else "words"
        found = []
        for tags, counts in zip(choice["tags"], choice["counts"], strict=True):
            own = kinds[np.asarray(tags)[np.asarray(counts) > 0]]
            said = [names[one] for one in dict.fromkeys(own[own >= 0].tolist())]
            number = int((np.asarray(counts) > 0).sum())
            found.append(
                f"log-odds of {', '.join(said)} in {number} {what}"
                if said
                else f"log-odds of nothing in all {what}"
            )
        return found

    def _kinds(self, task: Any) -> np.ndarray:
        """The name that each tag is of, -1 for the tag of nothing."""
        names = len(self.names(task))
        if isinstance(task, TimeTagging):
            return np.arange(names) if _independent(task) else np.arange(-1, names)
        scheme = _tagger(task).scheme
        if scheme == "words":
            return np.arange(names)
        each = (tag_count(scheme, names) - 1) // max(names, 1)
        return np.concatenate([[-1], np.repeat(np.arange(names), each)])


def _tagger(task: Any) -> Tagger:
    return task.taggers["trigger"] if isinstance(task, EventExtraction) else task.tagger


def _independent(task: Any) -> bool:
    """Whether a step may have several labels."""
    return isinstance(task, TimeTagging) and task.labels != "one"


def _tagged(seen: Seen) -> _Tagged:
    task, outputs = seen.task, seen.outputs
    if isinstance(task, TimeTagging):
        logits = outputs["logits"].astype(jnp.float32)
        return _Tagged(logits, outputs["mask"], logits.argmax(axis=-1))
    before = "trigger_" if isinstance(task, EventExtraction) else ""
    mask = outputs["mask"]
    words = words_of(offsets_of(seen.batch, task.text, mask.shape[1]), mask, task.subwords)
    logits = to_words(outputs[f"{before}logits"].astype(jnp.float32), words)
    chain = None
    if task.crf:
        chain = {part: outputs[f"{before}{part}"] for part in ("transitions", "start", "stop")}
    return _Tagged(logits, words.mask, read(logits, chain, words, _tagger(task))[0])
