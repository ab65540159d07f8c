"""Extractive question answering: the answer is a part of a text, or there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Dtype, Float, Int
from mmjax.metrics.question_answering import Language, question_answering
from mmjax.nn.dense import ACTIVATIONS, Activation, dense
from mmjax.tasks.answer_ranges import agreement, best, ends, first_and_last
from mmjax.tasks.answers.parts import Extracts
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.losses import require
from mmjax.tasks.spans import offsets_of, tokens_of

Outputs = dict[str, Array]


class ExtractiveQA(Task, kw_only=True):
    """The start and the end of an answer among the tokens of the modality `text`, the context.

    The question is another modality, pictures and tables are further ones: the fusion brings them
    together. The context needs `offsets=True`. A dense layer makes two logits a token, as BERT's
    (Devlin et al. 2019, section 4.2); with `hidden`, an MLP does of the token, the fused `pooled`
    and their product, for fusions that only pool. Where some training rows have no answer, `pooled`
    gives the logits of that, as [CLS] does for SQuAD 2.0 (section 4.3).

    The loss is the mean of the cross-entropies of start and end, of the first answer. Where that is
    beyond the tokens, the row has no answer, or, without such rows in training, does not count.

    Predictions: `spans` int32 `[b n_best 2]`, characters of the likeliest answers of at most
    `max_answer` tokens, (-1, -1) after the last; `scores` `[b n_best]`, the logarithms of their
    probabilities, and `none` `[b]` that of no answer, which is given where it is above the best
    answer's by more than `margin`: what `tune` finds best on the validation rows, else 0.
    """

    target: str = "label"
    text: str = "context"
    language: Language = "en"
    max_answer: int = 30
    n_best: int = 5
    hidden: int = 0
    activation: Activation = "gelu"
    dropout: float = 0.0
    unanswerable: int = fact(0)
    margin: float = fact(0.0)
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    headline: ClassVar[tuple[str, ...]] = ("exact_match", "f1", "span_exact", "span_f1")
    needs_texts: ClassVar[bool] = True

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Any:
        """`span` `[b n 2]`, and `none` `[b 2]` where a question may have no answer."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values, _ = tokens_of(fused, self.text)
        axes = "embed"
        if self.hidden:
            whole = jnp.broadcast_to(fused.pooled[:, None].astype(values.dtype), values.shape)
            values = jnp.concatenate([values, whole, values * whole], axis=-1)
            values = dense(self.hidden, ("embed", "mlp"), name="hidden", **types)(values)
            values, axes = ACTIVATIONS[self.activation](values), "mlp"
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        outputs: Outputs = {"span": dense(2, (axes, "labels"), name="span", **types)(values)}
        if self.unanswerable:
            outputs["none"] = dense(2, ("embed", "labels"), name="none", **types)(fused.pooled)
        return outputs

    def output(self, outputs: Any, batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of the logits."""
        for name in ("max_answer", "n_best"):
            require(name, getattr(self, name) >= 1, getattr(self, name), "1 or more")
        offsets = offsets_of(batch, self.text, outputs["span"].shape[1])
        valid = offsets[..., 1] > offsets[..., 0]
        log_p = ends(outputs["span"], outputs.get("none"), valid)
        spans, scores = best(log_p, offsets, valid, longest=self.max_answer, count=self.n_best)
        none = log_p.none.sum(axis=1)
        predictions = {"spans": spans, "scores": scores, "none": none}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        answers = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        first, last, found = first_and_last(offsets, answers[:, 0])

        def losses(tokens: Array, without: Array, place: Int[Array, "b"]) -> Float[Array, "b"]:
            there = jnp.take_along_axis(tokens, place[:, None], axis=1)[:, 0]
            return -jnp.where(found, there, without)

        start = losses(log_p.start, log_p.none[:, 0], first)
        end = losses(log_p.end, log_p.none[:, 1], last)
        weights = rows if self.unanswerable else rows * found
        weight = weights.sum()
        each = jnp.where(weights > 0, (start + end) / 2, 0.0)
        said = jnp.where(self.answers().empty(scores[:, 0], none)[:, None], -1, spans[:, 0])
        exact, overlap = agreement(said, answers)
        sums = {
            "span_exact": jnp.sum(rows * exact),
            "span_f1": jnp.sum(rows * overlap),
            "weight": rows.sum(),
        }
        return TaskOutput(each.sum() / jnp.maximum(weight, 1e-9), weight, sums, predictions)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`span_exact`, the share of spans that are an answer's to the character, and `span_f1`,
        the mean F1 of their characters.
        """
        whole = float(sums["weight"])
        names = ("span_exact", "span_f1")
        return {name: float(sums[name]) / whole if whole else float("nan") for name in names}

    def evaluate(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        texts: Mapping[str, Sequence[str | None]] | None = None,
    ) -> dict[str, float]:
        """`mmjax.metrics.question_answering` of the parts of the texts; nothing without texts."""
        if texts is None or self.text not in texts:
            return {}
        contexts = [one or "" for one in texts[self.text]]
        given = [
            [text[start:end] for start, end in spans if start >= 0]
            for text, spans in zip(contexts, targets[self.target].tolist(), strict=True)
        ]
        said = [str(row.get("answer", "")) for row in self.decode(predictions, texts)]
        return question_answering(said, given, language=self.language)

    def tune(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """The margin by which no answer must lead, for the most spans that are right exactly.

        As SQuAD 2.0's script chooses its threshold.
        """
        if not self.unanswerable:
            return {}
        answers = np.asarray(targets[self.target])
        said = np.asarray(predictions["spans"])[:, 0]
        has = answers[:, 0, 0] >= 0
        right = has & (answers == said[:, None]).all(axis=-1).any(axis=1)
        lead = np.asarray(predictions["none"], np.float64)
        lead = lead - np.asarray(predictions["scores"], np.float64)[:, 0]
        order = np.argsort(lead, kind="stable")
        gain = right.astype(np.int64)[order] - (~has)[order]
        # With the first k answered, those are right that were, and the empty ones among the others.
        total = np.concatenate([[0], np.cumsum(gain)])
        ordered = lead[order]
        may = np.concatenate([[True], ordered[:-1] < ordered[1:], [True]])
        k = int(np.argmax(np.where(may, total, -len(total))))
        if k == 0:
            return {"margin": float(ordered[0]) - 1.0}
        if k == len(ordered):
            return {"margin": float(ordered[-1]) + 1.0}
        return {"margin": float((ordered[k - 1] + ordered[k]) / 2)}

    def answers(self) -> Extracts:
        return Extracts(self.text, bool(self.unanswerable), self.margin)
