"""Speech as text, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Dtype
from mmjax.metrics.speech import speech
from mmjax.metrics.texts import exact_match
from mmjax.nn.dense import dense
from mmjax.tasks.answers.written import CtcTexts
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.ctc import collapse, frames_needed
from mmjax.tasks.losses import require
from mmjax.tasks.spans import summarised


class SpeechRecognitionCTC(Task, kw_only=True):
    """What is said, by a label or a blank for each token of the modality `speech`.

    A dense layer reads each of its tokens and, added to it, `Fused.pooled`, which tells of the
    other modalities. The target is of kind `text`, best with `tokenizer="characters"`, whose
    padding is the blank. The loss is that of CTC (Graves et al. 2006) over all labels; a text that
    needs more frames than there are does not count (torch's `zero_infinity`), `impossible` is the
    share of such rows.

    With `beams=1` the text is that of the likeliest path, its `scores` the path's log-probability;
    with more, the likeliest text of a prefix search, with its own, made on the host. Predictions:
    `ids` int32 `[b t]`, `lengths`, `scores`; with beams also `log_probabilities` `[b t v]` and
    `frames`.
    """

    target: str = "label"
    speech: str = "audio"
    beams: int = 1
    dropout: float = 0.0
    lower_case: bool = False
    punctuation: bool = True
    vocab_size: int = fact(0)
    pad_id: int = fact(0)
    end_id: int = fact(0)
    speller: str = fact("")
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    headline: ClassVar[tuple[str, ...]] = ("wer", "cer")
    needs_texts: ClassVar[bool] = True

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Any:
        """`logits` of each token and their `mask`."""
        if not self.speller:
            raise ConfigError(
                109,
                f"the target '{self.target}' is no text",
                where=f"data.targets.{self.target}",
                fix="give a target of kind text",
            )
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values, mask = summarised(fused, self.speech, dropout=self.dropout, train=train)
        logits = dense(self.vocab_size, ("embed", "vocab"), name="head", **types)(values)
        return {"logits": logits, "mask": mask}

    def output(self, outputs: Any, batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of the logits."""
        require("beams", self.beams >= 1, self.beams, "1 or more")
        mask = outputs["mask"]
        # Frames that are left out move to the end, where CTC wants its padding.
        order = jnp.argsort(~mask, axis=1, stable=True)
        mask = jnp.take_along_axis(mask, order, axis=1)
        logits = jnp.take_along_axis(outputs["logits"], order[..., None], axis=1)
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
        predictions = self._said(log_p, mask)
        if self.target not in batch.targets:
            return unlabelled(predictions)
        labels = jnp.asarray(batch.targets[self.target])
        known = (labels >= 0) & (labels != self.end_id)
        labels = jnp.where(known, labels, 0)
        rows = jnp.asarray(batch.row_mask)
        possible = frames_needed(labels, known) <= mask.sum(axis=1)
        losses = optax.ctc_loss(
            log_p,
            (~mask).astype(jnp.float32),
            labels,
            (~known).astype(jnp.float32),
            blank_id=self.pad_id,
        )
        counted = rows & possible
        weight = jnp.where(counted, known.sum(axis=1), 0).sum().astype(jnp.float32)
        total = jnp.where(counted, losses, 0.0).sum()
        sums = {
            "impossible": (rows & ~possible).sum().astype(jnp.float32),
            "rows": rows.sum().astype(jnp.float32),
        }
        return TaskOutput(total / jnp.maximum(weight, 1.0), weight, sums, predictions)

    def _said(self, log_p: Array, mask: Array) -> dict[str, Array]:
        path = jnp.argmax(log_p, axis=-1).astype(jnp.int32)
        ids, lengths = collapse(path, mask, blank=self.pad_id)
        scores = jnp.where(mask, log_p.max(axis=-1), 0.0).sum(axis=1)
        found = {"ids": ids, "lengths": lengths, "scores": scores}
        if self.beams > 1:
            found |= {"log_probabilities": log_p, "frames": mask.sum(axis=1)}
        return found

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`impossible`: the share of rows whose text needs more frames than there are."""
        rows = float(sums["rows"])
        return {"impossible": float(sums["impossible"]) / rows if rows else float("nan")}

    def evaluate(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        texts: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, float]:
        """`mmjax.metrics.speech` of the first reference, and exact match; nothing without texts."""
        true = (texts or {}).get(f"{self.target}/references")
        if true is None:
            return {}
        said = [one["text"] for one in self.decode(predictions)]
        first = [row[0] for row in true]
        rates = speech(said, first, lower_case=self.lower_case, punctuation=self.punctuation)
        return {**rates, "exact_match": exact_match(said, true)}

    def answers(self) -> CtcTexts:
        return CtcTexts(self.speller, self.beams, self.pad_id)
