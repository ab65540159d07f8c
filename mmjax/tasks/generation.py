"""What tasks share that write a text: the decoder, its loss, decoding, and the text of its ids."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Dtype
from mmjax.data.spelling import spelled
from mmjax.generate.config import GenerationConfig
from mmjax.nn.dense import Activation
from mmjax.nn.stack import Remat
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.losses import require
from mmjax.tasks.writing import Seen, Writer, seen_of, shifted, write

_REFUSED = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id")
_DECODER = (
    "width", "depth", "heads", "mlp_dim", "activation", "dropout", "attention_dropout", "tied",
    "remat", "scan", "dtype", "param_dtype", "vocab_size", "max_length",
)  # fmt: skip


class Generation(Task, abc.ABC, kw_only=True):
    """A text of the target kind `text`, written by a causal decoder that reads the fused tokens.

    With `reads="context"` its blocks look at all tokens of `Fused` beside the words; with "prefix"
    those stand before the words. Of a context, the modalities named in `before` stand before the
    words instead, such as the language that is to be written.

    In training the decoder is given the true words; the loss is the mean cross-entropy over tokens,
    the end of a text included, with labels smoothed by `label_smoothing` as torch's `cross_entropy`
    does. Evaluation has the loss without smoothing, and then writes as `decoding` says: settings of
    `generate.GenerationConfig` by name, such as `{"num_beams": 4, "max_new_tokens": 16}`; as many
    new tokens as the target has (`max_length`) if not given.

    Predictions: `ids` int32 `[b n]`, their number `lengths`, and `scores`, the log-probability of
    the text over its ids to the power of the length penalty. A subclass says in `judge` what texts
    are worth.
    """

    target: str = "label"
    reads: Literal["context", "prefix"] = "context"
    before: tuple[str, ...] = ()
    decoding: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    width: int = 256
    depth: int = 2
    heads: int = 4
    mlp_dim: int = 1024
    activation: Activation = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    label_smoothing: float = 0.0
    tied: bool = True
    scan: bool = False
    remat: Remat = "none"
    vocab_size: int = fact(0)
    max_length: int = fact(0)
    start_id: int = fact(0)
    end_id: int = fact(0)
    pad_id: int = fact(0)
    speller: str = fact("")
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    needs_texts: ClassVar[bool] = True

    def setup(self) -> None:
        if not self.speller:
            raise ConfigError(
                109,
                f"the target '{self.target}' is no text that could be written",
                where=f"data.targets.{self.target}",
                fix="give a target of kind text",
            )
        require("label_smoothing", 0 <= self.label_smoothing < 1, self.label_smoothing, "[0, 1)")
        self.decoder = Writer(**self._decoder_options())

    def _decoder_options(self) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in _DECODER}
        return {**options, "cross_attention": self.reads == "context"}

    @property
    def settings(self) -> GenerationConfig:
        """How texts are decoded. Raises ConfigError for a name that is no setting."""
        for name in self.decoding:
            if name in _REFUSED:
                raise ConfigError(
                    109,
                    f"decoding.{name} is the tokenizer's",
                    where="task.decoding",
                    fix="leave it out",
                )
        found = GenerationConfig(
            max_new_tokens=self.max_length, eos_token_id=(self.end_id,), pad_token_id=self.pad_id
        )
        return found.replace(**self.decoding)

    def __call__(self, fused: Fused, batch: Batch, *, train: bool) -> TaskOutput:
        seen = seen_of(fused, before=self.before, as_prefix=self.reads == "prefix")
        known = self.target in batch.targets
        rows = jnp.asarray(batch.row_mask)
        labels = jnp.full((rows.shape[0], 1), -1, jnp.int32)
        if known:
            labels = jnp.asarray(batch.targets[self.target])
        output = unlabelled({})
        if known or self.is_initializing():
            output = self._judged(seen, labels, rows, train=train)
        if train or self.is_initializing():
            return output
        return dataclasses.replace(output, predictions=self._written(seen, rows.shape[0]))

    def _judged(self, seen: Seen, labels: Array, rows: Array, *, train: bool) -> TaskOutput:
        """The loss of the true words, and sums of it."""
        words, said, counts = shifted(labels, start=self.start_id, pad=self.pad_id)
        counts &= rows[:, None]
        smoothing = self.label_smoothing if train else 0.0
        losses, right = self.decoder.losses(
            words,
            said,
            context=seen.get("context"),
            prefix=seen.get("prefix"),
            label_smoothing=smoothing,
            train=train,
        )
        weight = counts.sum().astype(jnp.float32)
        total = jnp.where(counts, losses, 0.0).sum()
        sums = {"right": (right & counts).sum().astype(jnp.float32), "tokens": weight}
        if not smoothing:
            sums["loss"] = total
        return TaskOutput(total / jnp.maximum(weight, 1.0), weight, sums, {})

    def _written(self, seen: Seen, rows: int) -> dict[str, Array]:
        writer = Writer(**self._decoder_options(), parent=None)
        parameters = self.variables["params"]["decoder"]
        found = write(writer, parameters, seen, self.settings, rows=rows, start=self.start_id)
        return {"ids": found.ids, "lengths": found.lengths, "scores": found.scores}

    def head_outputs(self, fused: Fused, *, train: bool) -> Array:
        raise ConfigError(
            109,
            "to write a text takes the tokens of all modalities, not one vector",
            where="model.fusion",
            fix="choose a fusion of features, such as concat or merged_attention",
        )

    def output(self, outputs: Any, batch: Batch) -> TaskOutput:
        """Nothing but predictions: the loss is of the words that the decoder is given."""
        return unlabelled(outputs)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`perplexity` and `token_accuracy` of the true words, each given those before it."""
        tokens = float(sums["tokens"])
        if not tokens:
            return {"perplexity": float("nan"), "token_accuracy": float("nan")}
        found = {"token_accuracy": float(sums["right"]) / tokens}
        if "loss" in sums:
            found["perplexity"] = float(np.exp(min(float(sums["loss"]) / tokens, 700.0)))
        return found

    def evaluate(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        texts: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, float]:
        """`judge` of what is written; nothing without the texts that are right."""
        true = (texts or {}).get(f"{self.target}/references")
        if true is None:
            return {}
        groups = (texts or {}).get(f"{self.target}/group")
        return self.judge(self.texts(predictions), true, groups)

    @abc.abstractmethod
    def judge(
        self,
        predictions: Sequence[str],
        references: Sequence[Sequence[str]],
        groups: Sequence[str] | None,
    ) -> dict[str, float]:
        """The metrics of texts, given what each row could have said and the group it is in."""

    def texts(self, predictions: Mapping[str, np.ndarray]) -> list[str]:
        """The texts of rows of ids."""
        ids, lengths = np.asarray(predictions["ids"]), np.asarray(predictions["lengths"])
        if ids.ndim != 2 or len(ids) != len(lengths):
            raise DataError(540, f"ids of shape {list(ids.shape)}, {len(lengths)} lengths")
        return [
            spelled(self.speller, row[:length], self.end_id)
            for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)
        ]

    def decode(
        self,
        predictions: Mapping[str, np.ndarray],
        texts: Mapping[str, Sequence[Any]] | None = None,
    ) -> list[dict[str, Any]]:
        """`{"text", "score"}` for each row."""
        scores = np.asarray(predictions["scores"], np.float64).tolist()
        said = self.texts(predictions)
        return [{"text": a, "score": b} for a, b in zip(said, scores, strict=True)]
