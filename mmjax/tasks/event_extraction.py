"""Events in a text: what tells of them, and what takes part in which role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, ArrayLike, Dtype, Float, Int
from mmjax.metrics.events import event_sums, events, events_from_sums
from mmjax.nn.dense import dense
from mmjax.tasks.answers.parts import Events
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.losses import require
from mmjax.tasks.pairs import Outputs, Pool, of_parts, pair_logits, pair_parameters
from mmjax.tasks.spans import offsets_of, summarised
from mmjax.tasks.tagger import Tagger, chain_parameters, judge, read, to_words
from mmjax.tasks.tagging import Subwords, Words, tag_count, words_of

_TAGS = ("trigger", "part")
"""What is tagged: triggers by their types, and whatever is an argument of some event."""

_ONE_KIND = np.array([np.iinfo(np.int32).max, np.iinfo(np.int32).max, 0], np.int32)


class EventExtraction(Task, kw_only=True):
    """Triggers by tags of words, arguments by tags of their own, and the role of every pair.

    Words are tagged twice as in token classification, BIO of the `type_names` and of arguments of
    any kind; a pair head (`pairs`) gives each trigger and argument a role or none. It learns from
    the true triggers and arguments, and is asked about those that are found. All read
    `Fused.pooled` besides, which tells of the other modalities. The text must be read with
    `offsets=True`; `subwords`, `crf` and `strict` are those of token classification.

    The loss is that of both tags, and `role_weight` times that of the roles, each a sum over the
    number of words. Predictions are `triggers` int32 `[b most 3]` (start, end, type) with
    `trigger_scores`, and `arguments` `[b most 6]` (start, end, start and end of the trigger, its
    type, role) with `argument_scores`; -1 where there are no more. Arguments that are part of
    several others cannot be found.
    """

    target: str = "events"
    text: str = "text"
    subwords: Subwords = "all"
    crf: bool = False
    strict: bool = False
    most: int = 16
    """Triggers, arguments, and pairs of both that a row can be predicted to have."""
    hidden: int = 128
    pool: Pool = "mean"
    role_weight: float = 1.0
    dropout: float = 0.0
    type_names: tuple[str, ...] = fact(())
    role_names: tuple[str, ...] = fact(())
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    headline: ClassVar[tuple[str, ...]] = ("trigger_f1", "argument_f1")

    @property
    def taggers(self) -> dict[str, Tagger]:
        """How both sets of tags are read."""
        return {
            "trigger": Tagger("BIO", len(self.type_names), self.strict, self.most),
            "part": Tagger("BIO", 1, self.strict, self.most),
        }

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Outputs:  # type: ignore[override]
        """Logits of both tags of each token, the parts of a pair head, and the tokens' `mask`."""
        if not self.type_names:
            raise ConfigError(
                109,
                f"the target '{self.target}' has no types of events",
                where=f"data.targets.{self.target}",
                fix="give a target of kind events",
            )
        for name in ("most", "hidden"):
            require(name, getattr(self, name) > 0, getattr(self, name), "1 or more")
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        seen, mask = summarised(fused, self.text, dropout=self.dropout, train=train)
        outputs: Outputs = {"mask": mask}
        for name, tagger in self.taggers.items():
            count = tag_count(tagger.scheme, tagger.kinds)
            outputs[f"{name}_logits"] = dense(count, ("embed", "labels"), name=name, **types)(seen)
            if self.crf:
                chain = chain_parameters(self, f"{name}_tags", count, **types)
                outputs |= {f"{name}_{part}": value for part, value in chain.items()}
        pairs = pair_parameters(
            self,
            seen,
            fused.pooled,
            names=("event", "argument"),
            hidden=self.hidden,
            labels=1 + len(self.role_names),
            **types,
        )
        return {**outputs, **pairs}

    def output(self, outputs: Outputs, batch: Batch) -> TaskOutput:  # type: ignore[override]
        mask = outputs["mask"]
        offsets = offsets_of(batch, self.text, mask.shape[1])
        words = words_of(offsets, mask, self.subwords)
        tags, found = {}, {}
        for name, tagger in self.taggers.items():
            logits, chain = self._tag_logits(outputs, name, words)
            tags[name], *found[name] = read(logits, chain, words, tagger)
        triggers, parts = found["trigger"], found["part"]
        arguments, scores = self._arguments(outputs, offsets, triggers[0], parts[0])
        predictions = {
            "triggers": triggers[0],
            "trigger_scores": triggers[1],
            "arguments": arguments,
            "argument_scores": scores,
        }
        if self.target not in batch.targets:
            return unlabelled(predictions)
        records = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask)
        truth = split(records)
        total = jnp.zeros((), jnp.float32)
        counted = (words.mask & rows[:, None]).astype(jnp.float32)
        # Of arguments the kind is one, and stands where their trigger begins.
        wanted = {"trigger": truth[0], "part": jnp.minimum(truth[1][..., :3], _ONE_KIND)}
        for name, tagger in self.taggers.items():
            logits, chain = self._tag_logits(outputs, name, words)
            one = judge(logits, chain, words, tags[name], wanted[name], tagger)
            total += jnp.sum(one.losses * counted)
        total += self.role_weight * self._role_losses(outputs, offsets, truth, rows)
        weight = counted.sum()
        sums = event_sums(
            truth, (triggers[0], arguments), len(self.type_names), len(self.role_names), rows
        )
        return TaskOutput(total / jnp.maximum(weight, 1e-9), weight, sums, predictions)

    def _tag_logits(
        self, outputs: Outputs, name: str, words: Words
    ) -> tuple[Float[Array, "b n v"], Outputs | None]:
        chain = None
        if self.crf:
            chain = {part: outputs[f"{name}_{part}"] for part in ("transitions", "start", "stop")}
        return to_words(outputs[f"{name}_logits"].astype(jnp.float32), words), chain

    def _role_logits(
        self,
        outputs: Outputs,
        offsets: Int[Array, "b n 2"],
        triggers: Int[Array, "b t _"],
        parts: Int[Array, "b a _"],
    ) -> Float[Array, "b t a v"]:
        ends = [
            of_parts(outputs[name], offsets, outputs["mask"], some[..., :2], self.pool)
            for name, some in (("event", triggers), ("argument", parts))
        ]
        return pair_logits(outputs, ends[0], ends[1])

    def _arguments(
        self,
        outputs: Outputs,
        offsets: Int[Array, "b n 2"],
        triggers: Int[Array, "b t 3"],
        parts: Int[Array, "b a 3"],
    ) -> tuple[Int[Array, "b most 6"], Float[Array, "b most"]]:
        """The pairs that have a role, the surest first, in no more than `most` rows."""
        shares = jax.nn.softmax(
            jax.lax.stop_gradient(self._role_logits(outputs, offsets, triggers, parts))
        )
        role = jnp.argmax(shares, axis=-1).astype(jnp.int32)
        here = (triggers[..., 0] >= 0)[:, :, None] & (parts[..., 0] >= 0)[:, None] & (role > 0)
        score = jnp.where(here, shares.max(axis=-1), -1.0)
        both = role.shape[1:]
        wide = [jnp.broadcast_to(triggers[:, :, None], (*role.shape, 3))]
        wide.append(jnp.broadcast_to(parts[:, None], (*role.shape, 3)))
        pairs = jnp.concatenate([wide[1][..., :2], wide[0], role[..., None] - 1], axis=-1)
        flat = pairs.reshape(len(role), both[0] * both[1], 6)
        best, order = jax.lax.top_k(score.reshape(len(role), -1), min(self.most, flat.shape[1]))
        chosen = jnp.take_along_axis(flat, order[..., None], axis=1)
        chosen = jnp.where((best > 0)[..., None], chosen, -1)
        room = ((0, 0), (0, self.most - best.shape[1]))
        return (
            jnp.pad(chosen, (*room, (0, 0)), constant_values=-1),
            jnp.pad(jnp.maximum(best, 0.0), room),
        )

    def _role_losses(
        self,
        outputs: Outputs,
        offsets: Int[Array, "b n 2"],
        truth: tuple[Array, Array],
        rows: Array,
    ) -> Float[Array, ""]:
        """The summed cross-entropy of the roles of all pairs of true triggers and arguments."""
        triggers, arguments = truth
        logits = self._role_logits(outputs, offsets, triggers, arguments)
        same = jnp.all(arguments[:, :, None, :2] == arguments[:, None, :, :2], axis=-1)
        count = arguments.shape[1]
        first = ~jnp.any(same & (jnp.arange(count)[:, None] > jnp.arange(count)), axis=-1)
        # Whether what stands in record k is of trigger t, and has the characters of record a.
        of = jnp.all(triggers[:, :, None, :2] == arguments[:, None, :, 2:4], axis=-1)
        linked = of[:, :, None] & same[:, None]
        which = jnp.argmax(linked, axis=-1)
        role = jnp.take_along_axis(arguments[:, None, :, 5], which, axis=2)
        role = jnp.where(linked.any(axis=-1), role + 1, 0)
        role = jnp.maximum(role, 0)
        counts = (triggers[..., 0] >= 0)[:, :, None] & ((arguments[..., 0] >= 0) & first)[:, None]
        counts &= rows[:, None, None] & jnp.any(outputs["mask"], axis=1)[:, None, None]
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), role[..., None], axis=-1)[..., 0]
        return jnp.sum(jnp.where(counts, losses, 0.0))

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`mmjax.metrics.events`, from sums over batches."""
        return events_from_sums(sums, type_names=self.type_names, role_names=self.role_names)

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Precision, recall and F1 of triggers and arguments."""
        return events(
            split(np.asarray(targets[self.target]), np),
            (predictions["triggers"], predictions["arguments"]),
            type_names=self.type_names,
            role_names=self.role_names,
        )

    def answers(self) -> Events:
        return Events(self.text, self.type_names, self.role_names)


def split(records: Int[ArrayLike, "b m 5"], numpy: Any = jnp) -> tuple[Any, Any]:
    """Triggers [b m 3] and arguments [b m 6] of a target of kind events, as predictions have them.

    `numpy` is the library that reckons, on the host NumPy itself.
    """
    start, end, first, last, kind = (records[..., i] for i in range(5))
    is_argument = (first >= 0)[..., None]
    triggers = numpy.stack([start, end, kind], axis=-1)
    triggers = numpy.where(is_argument, -1, triggers)
    own = (first[:, :, None] == triggers[:, None, :, 0]) & (
        last[:, :, None] == triggers[:, None, :, 1]
    )
    of = numpy.take_along_axis(triggers[..., 2], numpy.argmax(own, axis=-1), axis=1)
    arguments = numpy.stack([start, end, first, last, of, kind], axis=-1)
    return triggers, numpy.where(is_argument, arguments, -1)
