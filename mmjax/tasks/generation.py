"""What tasks share that write a text: the decoder, its loss, decoding, and the text of its ids."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec, fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Dtype
from mmjax.encoders import decoders
from mmjax.generate.config import GenerationConfig
from mmjax.generate.decoder import LinenDecoder
from mmjax.nn.dense import Activation
from mmjax.nn.lm_head import cross_entropy
from mmjax.nn.stack import Remat
from mmjax.tasks.answers.written import Texts
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.connecting import Connect, Connector, Seeing, prefix_of, require_fit, width_of
from mmjax.tasks.losses import require
from mmjax.tasks.spans import tokens_of
from mmjax.tasks.writing import (
    Prompt,
    Seen,
    Writer,
    Writing,
    begin_writing,
    prompted,
    seen_of,
    shifted,
    write,
)

DecoderSpec = Annotated[Spec, decoders]

_REFUSED = ("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id")
_DECODER = (
    "width", "depth", "heads", "mlp_dim", "activation", "dropout", "attention_dropout", "tied",
    "remat", "scan", "dtype", "param_dtype", "vocab_size", "max_length",
)  # fmt: skip


class Generation(Task, abc.ABC, kw_only=True):
    """A text of the target kind `text`, written by a causal decoder that reads the fused tokens.

    With `reads="context"` its blocks look at all tokens of `Fused` beside the words; with "prefix"
    those stand before the words. Of a context, the modalities named in `before` stand before the
    words instead, such as the language that is to be written. A `connector` brings fused tokens to
    the decoder's width first.

    The decoder is made here, of `width` and the like, or is `decode_with`, one of
    `mmjax.encoders.decoders`; in training it starts from the weights of `pretrained`, a Hugging
    Face folder or hub id, which also gives its settings, tokenizer and first ids, and how it
    decodes (`train.decoders`). A `causal_lm` takes fused tokens as a prefix, or as a context with
    `gated_every` blocks; an encoder-decoder's decoder as a context. To train all but a language
    model, `optimizer.multipliers={"^/task/decoder/(?!gated)": 0.0}`. The tokens of the modality
    `prompt`, made by the decoder's own tokenizer, are words before those that are written, and no
    part of what is fused.

    A text begins with the ids `begins_with`, which are given (the tokenizer's own start if none),
    and `leads_with`, which are learnt.

    In training the decoder is given the true words; the loss is the mean cross-entropy over tokens,
    the end of a text included, with labels smoothed by `label_smoothing` as torch's `cross_entropy`
    does. Evaluation has the loss without smoothing, and then writes as `decoding` says: settings of
    `generate.GenerationConfig` by name, such as `{"num_beams": 4, "max_new_tokens": 16}`; as many
    new tokens as the target has (`max_length`) if not given. With `num_return_sequences`, the beams
    or draws are so many, and the one that agrees most with the others is the text of the row
    (`generate.consensus`).

    Predictions: `ids` int32 `[b n]`, their number `lengths`, and `scores`, the log-probability of
    the text over its ids to the power of the length penalty; of several texts a row, `[b r n]` and
    `[b r]`. A subclass says in `judge` what texts are worth.
    """

    target: str = "label"
    reads: Literal["context", "prefix"] = "context"
    before: tuple[str, ...] = ()
    decoding: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    decode_with: DecoderSpec | None = None
    pretrained: str = ""
    connector: Connect = "none"
    prompt: str = ""
    begins_with: tuple[int, ...] = ()
    leads_with: tuple[int, ...] = ()
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
        self.decoder = self._decoder()
        if self.connector != "none":
            types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
            width = width_of(self.decoder) or self.width
            self.connect = Connector(kind=self.connector, width=width, **types)

    @nn.nowrap
    def _decoder(self) -> nn.Module:
        if self.decode_with is None:
            options = {name: getattr(self, name) for name in _DECODER}
            options["max_length"] += len(self.begin) + len(self.leads_with) - 1
            return Writer(**options, cross_attention=self.reads == "context")
        names = ("vocab_size", "max_length", "dtype", "param_dtype")
        made = decoders.build(self.decode_with, facts={name: getattr(self, name) for name in names})
        words = getattr(made, "decoder_vocab_size", None) or getattr(made, "vocab_size", None)
        if words is not None and words < self.vocab_size:
            raise ConfigError(
                109,
                f"the target has {self.vocab_size} token ids, its decoder {words}",
                where=f"data.targets.{self.target}.tokenizer",
                fix="use the tokenizer that belongs to the weights",
            )
        return made

    @nn.nowrap
    def reader(self) -> LinenDecoder:
        """The decoder as `generate.generate` takes it; not within a call of the task.

        Its variables are the parameters below `decoder`, its context is what `seen` gives.
        """
        made = self._decoder()
        return LinenDecoder(made) if self.decode_with is None else Seeing(made)

    @property
    def begin(self) -> tuple[int, ...]:
        """The ids that a text begins with, which are given."""
        return self.begins_with or (self.start_id,)

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
            max_new_tokens=self._longest, eos_token_id=(self.end_id,), pad_token_id=self.pad_id
        )
        return found.replace(**self.decoding)

    def __call__(self, fused: Fused, batch: Batch, *, train: bool) -> TaskOutput:
        seen, prompt = self.seen(fused, batch)
        known = self.target in batch.targets
        rows = jnp.asarray(batch.row_mask)
        labels = jnp.full((rows.shape[0], 1), -1, jnp.int32)
        if known:
            labels = jnp.asarray(batch.targets[self.target])
        output = unlabelled({})
        if known or self.is_initializing():
            output = self._judged(seen, prompt, labels, rows, train=train)
        if train or self.is_initializing():
            return output
        predictions = self.written(seen, prompt, rows.shape[0])
        return dataclasses.replace(output, predictions=predictions)

    @property
    def _longest(self) -> int:
        return self.max_length + len(self.leads_with)

    def seen(self, fused: Fused, batch: Batch) -> tuple[Seen, Prompt | None]:
        """What the decoder looks at, and the words before those that it writes."""
        if self.connector != "none":
            fused = self.connect(fused)
        without = (self.prompt,) if self.prompt else ()
        as_prefix = self.reads == "prefix"
        seen = seen_of(fused, before=self.before, as_prefix=as_prefix, without=without)
        if self.decode_with is None and not self.prompt:
            return seen, None
        require_fit(self.decoder, seen, prompted=bool(self.prompt))
        if not self.prompt:
            return seen, None
        fields = batch.inputs[self.prompt]
        if "input_ids" not in fields:
            raise ConfigError(
                109, f"'{self.prompt}' is no text", where="task.prompt", fix="a modality of text"
            )
        # What the model is not to see of a row, it does not see here either.
        here = tokens_of(fused, self.prompt)[1].any(axis=1, keepdims=True)
        mask = jnp.asarray(fields["attention_mask"], bool) & here
        return seen, Prompt(jnp.asarray(fields["input_ids"]), mask)

    def _judged(
        self, seen: Seen, prompt: Prompt | None, labels: Array, rows: Array, *, train: bool
    ) -> TaskOutput:
        """The loss of the true words, and sums of it."""
        words, said, counts = shifted(
            labels, begin=self.begin, lead=self.leads_with, pad=self.pad_id
        )
        counts &= rows[:, None]
        smoothing = self.label_smoothing if train else 0.0
        if self.decode_with is None:
            losses, right = self.decoder.losses(
                words,
                said,
                context=seen.get("context"),
                prefix=seen.get("prefix"),
                label_smoothing=smoothing,
                train=train,
            )
        else:
            mask = None
            if prompt is not None:
                words, said, counts, mask = prompted(prompt, words, said, counts)
            context, positions = seen.get("context"), None
            if mask is not None:
                positions = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
            logits = self.decoder.decode(
                words, context, mask, positions, train=train, **prefix_of(seen)
            ).logits
            losses = cross_entropy(logits, said, label_smoothing=smoothing)
            right = jnp.argmax(logits, axis=-1) == said
        weight = counts.sum().astype(jnp.float32)
        total = jnp.where(counts, losses, 0.0).sum()
        sums = {"right": (right & counts).sum().astype(jnp.float32), "tokens": weight}
        if not smoothing:
            sums["loss"] = total
        return TaskOutput(total / jnp.maximum(weight, 1.0), weight, sums, {})

    def written(self, seen: Seen, prompt: Prompt | None, rows: int) -> dict[str, Array]:
        """The predictions of rows."""
        found = write(*self._asked(seen), **self._how(prompt, rows))
        texts = {"ids": found.ids, "lengths": found.lengths, "scores": found.scores}
        if self.settings.num_return_sequences > 1:
            return texts
        return {name: array[:, 0] for name, array in texts.items()}

    def begun(self, seen: Seen, prompt: Prompt | None, rows: int) -> Writing:
        """The texts of rows with their first token, for `writing.go_on`."""
        return begin_writing(*self._asked(seen), **self._how(prompt, rows))

    def _asked(self, seen: Seen) -> tuple[LinenDecoder, Any, Seen, GenerationConfig]:
        made = self.decoder.clone(parent=None)
        reader = LinenDecoder(made) if self.decode_with is None else Seeing(made)
        return reader, self.variables["params"]["decoder"], seen, self.settings

    def _how(self, prompt: Prompt | None, rows: int) -> dict[str, Any]:
        return {"rows": rows, "begin": self.begin, "longest": self._longest, "prompt": prompt}

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
        """The texts of rows of ids; of several in a row, the one that agrees most with them."""
        return self.answers().texts(predictions)

    def answers(self) -> Texts:
        settings = self.settings
        return Texts(
            self.speller,
            self.end_id,
            several=settings.num_return_sequences > 1,
            searched=settings.num_beams > 1,
            length_penalty=settings.length_penalty,
        )
