"""A text decoder as a task has it: what it looks at, what it shall say, and what it writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mmjax.core.errors import ConfigError
from mmjax.core.types import Decoded, Fused, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.generate import engine
from mmjax.generate.config import GenerationConfig
from mmjax.generate.decoder import LinenDecoder, repeat_rows
from mmjax.generate.state import Limits
from mmjax.nn.text_decoder import CausalDecoder
from mmjax.tasks.spans import tokens_of

Seen = Mapping[str, Tokens]
"""What a writer looks at: its `context`, its `prefix`, both, or neither."""


class Writer(CausalDecoder, kw_only=True):
    """A `CausalDecoder` that is decoded with a context and a prefix at once."""

    def decode(  # type: ignore[override]
        self,
        words: Int[ArrayLike, "b n"],
        encoder: Seen,
        mask: Bool[ArrayLike, "b m"] | None = None,
        position_ids: Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Decoded:
        return self(
            words,
            mask,
            context=encoder.get("context"),
            prefix=encoder.get("prefix"),
            position_ids=position_ids,
            train=train,
        )


@struct.dataclass
class Prompt:
    """Words before those that are written, in each row some."""

    ids: Int[Array, "b p"]
    mask: Bool[Array, "b p"]


@struct.dataclass
class Written:
    """The texts of each row, the best first, or as they were drawn: ids, the end included and
    padding behind, how many they are, and the score: the log-probability over the number of ids to
    the power of the length penalty.
    """

    ids: Int[Array, "b r n"]
    lengths: Int[Array, "b r"]
    scores: Float[Array, "b r"]


def seen_of(
    fused: Fused, *, before: tuple[str, ...], as_prefix: bool, without: tuple[str, ...] = ()
) -> Seen:
    """The tokens of the modalities `before` as a prefix, all others but `without` as a context.

    With `as_prefix`, all are a prefix. Raises ConfigError for a modality that is not there.
    """
    for name in (*before, *without):
        tokens_of(fused, name)
    kept = [name for name in fused.spans if name not in without]
    first = kept if as_prefix else [name for name in before if name in kept]
    rest = [name for name in kept if name not in first]
    if not as_prefix and not rest:
        first, rest = [], first
    found = {}
    for what, names in (("prefix", first), ("context", rest)):
        if names:
            parts = zip(*(tokens_of(fused, name) for name in names), strict=True)
            values, mask = (jnp.concatenate(one, axis=1) for one in parts)
            found[what] = Tokens(values, mask, fused.pooled)
    return found


def shifted(
    labels: Int[Array, "b n"], *, begin: tuple[int, ...], lead: tuple[int, ...] = (), pad: int
) -> tuple[Int[Array, "b _"], Int[Array, "b _"], Bool[Array, "b _"]]:
    """What the decoder is given, what it shall say, and which of that counts.

    It is given the ids `begin`, and shall say those of `lead` and of the text. Ids of `labels`
    below 0 stand behind the end of a text.
    """
    counts = labels >= 0
    rows = labels.shape[0]

    def every(ids: tuple[int, ...]) -> Array:
        return jnp.broadcast_to(jnp.asarray(ids, labels.dtype), (rows, len(ids)))

    def behind(flags: Array) -> Array:
        led = jnp.repeat(counts.any(axis=1, keepdims=True), len(lead), axis=1)
        return jnp.concatenate([jnp.zeros((rows, len(begin) - 1), bool), led, flags], axis=1)

    words = jnp.where(counts, labels, pad)
    whole = jnp.concatenate([every(begin), every(lead), words], axis=1)
    return whole[:, :-1], whole[:, 1:], behind(counts)


def prompted(
    prompt: Prompt, words: Int[Array, "b n"], said: Int[Array, "b n"], counts: Bool[Array, "b n"]
) -> tuple[Int[Array, "b _"], Int[Array, "b _"], Bool[Array, "b _"], Bool[Array, "b _"]]:
    """`shifted` with a prompt before it, of which nothing counts, and the mask of the words."""
    nothing = jnp.zeros_like(prompt.ids)
    return (
        jnp.concatenate([prompt.ids, words], axis=1),
        jnp.concatenate([nothing, said], axis=1),
        jnp.concatenate([nothing.astype(bool), counts], axis=1),
        jnp.concatenate([prompt.mask, jnp.ones_like(counts)], axis=1),
    )


@struct.dataclass
class Writing:
    """Texts while they are written: arrays that go from step to step."""

    run: Any
    """The search and the decoder's cache."""
    valid: Bool[Array, "b s"]
    limits: Limits
    seen: Seen

    @property
    def ids(self) -> Int[Array, "b n"]:
        """The new tokens of each row, padding behind; not of beams, which change."""
        return self.run.search.tokens[:, self.valid.shape[1] - self.new :]

    @property
    def new(self) -> int:
        """How many tokens a text may have."""
        return self.run.search.scores.shape[1]

    @property
    def count(self) -> Int[Array, ""]:
        """How many tokens there are."""
        return self.run.search.count

    @property
    def going(self) -> Bool[Array, ""]:
        """Whether any row has not ended."""
        return self.run.search.going


def write(
    decoder: LinenDecoder,
    parameters: Any,
    seen: Seen,
    config: GenerationConfig,
    *,
    rows: int,
    begin: tuple[int, ...],
    longest: int,
    prompt: Prompt | None = None,
    key: Array | None = None,
) -> Written:
    """What the decoder says of `rows` rows behind their prompts and `begin`, within jit.

    `config` has its ids and the number of texts; `longest` is how many tokens it may ask for.
    Raises ConfigError for more, or more than there are positions for.
    """
    writing = begin_writing(
        decoder,
        parameters,
        seen,
        config,
        rows=rows,
        begin=begin,
        longest=longest,
        prompt=prompt,
        key=key,
    )
    most = jnp.asarray(config.max_new_tokens or config.max_length or longest, jnp.int32)
    search = go_on(decoder, parameters, config, writing, most).run.search
    times = config.num_return_sequences
    if config.num_beams > 1:
        texts = search.best.tokens, search.best.lengths, search.best.scores
        return Written(*(one[:, :times] for one in texts))
    lengths = jnp.maximum(search.lengths, 1).astype(jnp.float32)
    scores = search.scores.sum(axis=1) / lengths**config.length_penalty
    drawn = search.tokens[:, -search.scores.shape[1] :], search.lengths, scores
    return Written(*(one.reshape(rows, times, *one.shape[1:]) for one in drawn))


def begin_writing(
    decoder: LinenDecoder,
    parameters: Any,
    seen: Seen,
    config: GenerationConfig,
    *,
    rows: int,
    begin: tuple[int, ...],
    longest: int,
    prompt: Prompt | None = None,
    key: Array | None = None,
) -> Writing:
    """The prompts through the decoder, and the first token; arguments and errors as of `write`."""
    new = config.max_new_tokens or config.max_length or longest
    before = len(begin) + (0 if prompt is None else prompt.ids.shape[1])
    if isinstance(decoder.module, Writer) or "prefix" not in seen:
        needed = before + new - 1
    else:
        needed = before + new - 1 + seen["prefix"].mask.shape[1]
    most = decoder.most_positions
    if new > longest or (most is not None and needed > most):
        raise ConfigError(
            109,
            f"max_new_tokens={new}, and {before} tokens before them",
            where="task.decoding",
            fix=f"{longest} tokens at most, as the target's max_length, {most or 'any number'} "
            "with all that stands before them",
        )
    first = jnp.broadcast_to(jnp.asarray(begin, jnp.int32), (rows, len(begin)))
    space = jnp.full((rows, new), config.padding, jnp.int32)
    parts, flags = [first, space], [jnp.ones((rows, len(begin) + new), bool)]
    if prompt is not None:
        # Prompts end where what follows begins.
        order = jnp.argsort(prompt.mask, axis=1, stable=True)
        parts.insert(0, jnp.take_along_axis(prompt.ids, order, axis=1))
        flags.insert(0, jnp.take_along_axis(prompt.mask, order, axis=1))
    tokens, valid = (jnp.concatenate(one, axis=1) for one in (parts, flags))
    count = valid.sum(axis=1).astype(jnp.int32) - new
    least = max(config.min_new_tokens or 0, config.min_length - 1)
    whole = [jnp.full(rows, one, jnp.int32) for one in (new, least)]
    limits = Limits(prompt=count, most=whole[0], least=whole[1])
    times = config.num_return_sequences if config.num_beams == 1 else 1
    tokens, valid, limits, seen = repeat_rows((tokens, valid, limits, seen), times)
    run = engine.begin(
        {"params": parameters},
        tokens,
        valid,
        limits,
        seen,
        jax.random.key(0) if key is None else key,
        decoder=decoder,
        new=new,
        **_static(config),
    )
    return Writing(run, valid, limits, seen)


def go_on(
    decoder: LinenDecoder,
    parameters: Any,
    config: GenerationConfig,
    writing: Writing,
    until: Int[Array, ""],
) -> Writing:
    """One token after the other, until each row has ended or has `until` of them."""
    rest = writing.valid, writing.limits, writing.seen, until
    run = engine.proceed(
        writing.run, {"params": parameters}, *rest, decoder=decoder, **_static(config)
    )
    return dataclasses.replace(writing, run=run)


def _static(config: GenerationConfig) -> dict[str, Any]:
    rules = config.replace(
        max_new_tokens=None, max_length=None, min_new_tokens=None, min_length=0, output_scores=True
    )
    return {"config": rules, "processors": (), "mesh": None}
