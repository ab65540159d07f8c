"""Named parts of a text: entities, chunks, parts of speech."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Dtype
from mmjax.metrics.entities import entities_from_sums, entity_sums, span_entities
from mmjax.nn.dense import ACTIVATIONS, Activation, dense
from mmjax.tasks.answers.parts import Spans
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.losses import require
from mmjax.tasks.spans import offsets_of, summarised
from mmjax.tasks.tagger import Outputs, Tagger, chain_parameters, judge, read, to_words
from mmjax.tasks.tagging import Scheme, Subwords, tag_count, words_of


class TokenClassification(Task, kw_only=True):
    """The spans of a text that have a name, by a tag for each word.

    A dense layer, with `hidden` an MLP, reads each token of the modality `text` and, added to it,
    `Fused.pooled`, which tells of the other modalities. Tags are BIO or BIOES of `span_names`; with
    `scheme="words"` each word has one name, and only those in a span of the target count. With
    `crf`, a linear-chain conditional random field (Lample et al. 2016) that allows only sequences
    that mean something; without it, a tag that goes on with nothing begins a span, but not with
    `strict`.

    The text must be read with `offsets=True`. `subwords` says what carries a tag: "all" tokens, or
    the "first" of each run of tokens without a blank between, as for files of one word a line. A
    span is then found by whole words only.

    The loss is the mean over words that carry a tag. Predictions are `spans` int32 `[b most 3]`
    (start and end in characters, number of the name; -1 where there are no more), and their
    `scores` `[b most]`.
    """

    target: str = "spans"
    text: str = "text"
    scheme: Scheme = "BIO"
    subwords: Subwords = "all"
    crf: bool = False
    strict: bool = False
    most: int = 64
    """Spans that a row can be predicted to have."""
    dropout: float = 0.0
    hidden: int = 0
    activation: Activation = "gelu"
    span_names: tuple[str, ...] = fact(())
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    headline: ClassVar[tuple[str, ...]] = ("micro_f1", "accuracy")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Outputs:  # type: ignore[override]
        """`logits` of the tags of each token, their `mask`, and with `crf` the chain's scores."""
        if not self.span_names:
            raise ConfigError(
                109,
                f"the target '{self.target}' has no names of spans",
                where=f"data.targets.{self.target}",
                fix="give a target of kind spans",
            )
        require("most", self.most > 0, self.most, "1 or more")
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        seen, mask = summarised(fused, self.text, dropout=self.dropout, train=train)
        if self.hidden:
            seen = dense(self.hidden, ("embed", "mlp"), name="hidden", **types)(seen)
            seen = ACTIVATIONS[self.activation](seen)
        count = tag_count(self.scheme, len(self.span_names))
        axes = ("mlp" if self.hidden else "embed", "labels")
        logits = dense(count, axes, name="head", **types)(seen)
        chain = chain_parameters(self, "tags", count, **types) if self.crf else {}
        return {"logits": logits, "mask": mask, **chain}

    @property
    def tagger(self) -> Tagger:
        """How tags are read."""
        return Tagger(self.scheme, len(self.span_names), self.strict, self.most)

    def output(self, outputs: Outputs, batch: Batch) -> TaskOutput:  # type: ignore[override]
        mask = outputs["mask"]
        offsets = offsets_of(batch, self.text, mask.shape[1])
        words = words_of(offsets, mask, self.subwords)
        logits = to_words(outputs["logits"].astype(jnp.float32), words)
        chain = outputs if self.crf else None
        tags, spans, scores = read(logits, chain, words, self.tagger)
        predictions = {"spans": spans, "scores": scores}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        truth = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask)
        found = judge(logits, chain, words, tags, truth, self.tagger)
        counted = (found.counted & rows[:, None]).astype(jnp.float32)
        weight = counted.sum()
        total = jnp.sum(found.losses * counted)
        sums = {
            **entity_sums(truth, spans, len(self.span_names), rows),
            "right_words": jnp.sum(counted * found.right),
            "words": weight,
            "loss": total,
        }
        return TaskOutput(total / jnp.maximum(weight, 1e-9), weight, sums, predictions)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`mmjax.metrics.entities` of spans, and of tags their `accuracy` and `log_loss`."""
        words = float(sums["words"])
        shares = {"accuracy": "right_words", "log_loss": "loss"}
        return {
            **{k: float(sums[v]) / words if words else float("nan") for k, v in shares.items()},
            **entities_from_sums(sums, self.span_names),
        }

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Precision, recall and F1 of spans, as `mmjax.metrics.entities` has them."""
        return span_entities(targets[self.target], predictions["spans"], self.span_names)

    def answers(self) -> Spans:
        return Spans(self.text, self.span_names)
