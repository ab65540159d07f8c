"""The decoding loop: lengths in buckets, one program for the prompts and one for what follows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.generate import beam, sampling
from mmjax.generate.config import DEFAULT_NEW_TOKENS, GenerationConfig
from mmjax.generate.decoder import Decoder, repeat_rows
from mmjax.generate.processors import Processor, make_processors
from mmjax.generate.state import Limits
from mmjax.generate.stops import Stops, stops_of
from mmjax.parallel.mesh import BATCH_AXES, traced_on
from mmjax.parallel.sharding import batch_sharding

OnTokens = Callable[[np.ndarray], Any]
"""`on_tokens(tokens [b n])`: the new tokens of every row since the last call, padded at the end."""


@struct.dataclass
class Generated:
    """New tokens of each row, without its prompt: `r` sequences a row, the best first.

    `lengths` count them, an end token included; behind are padding ids. `scores` are those of the
    sequences: with beams their log-probability over their length to the power of the length
    penalty; else their log-probability, None without `output_scores`. `token_scores` are the
    log-probabilities of each token after processing, 0 behind the end; of one that was drawn,
    before the temperature and the cuts of the draw.
    """

    tokens: Int[np.ndarray, "b r n"]
    lengths: Int[np.ndarray, "b r"]
    scores: Float[np.ndarray, "b r"] | None
    token_scores: Float[np.ndarray, "b r n"] | None

    def lists(self) -> list[list[list[int]]]:
        """The ids of each sequence of each row, cut to its length."""
        return [
            [row[:length].tolist() for row, length in zip(*group, strict=True)]
            for group in zip(self.tokens, self.lengths, strict=True)
        ]


@struct.dataclass
class _Run:
    """What goes from program to program."""

    search: Any
    cache: Any


def generate(
    decoder: Decoder,
    variables: Any,
    prompts: Int[ArrayLike, "b n"],
    config: GenerationConfig,
    *,
    mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
    context: Any = None,
    key: Array | None = None,
    processors: tuple[Processor, ...] = (),
    on_tokens: OnTokens | None = None,
    every: int = 1,
    mesh: Mesh | None = None,
    empty: bool = False,
    token_texts: Mapping[int, str] | None = None,
) -> Generated:
    """What follows each prompt.

    Prompts are padded at either side where `mask` is 0; they may have different lengths, and give
    what each gives alone. For an encoder-decoder they are what its decoder starts with, and
    `context` is what the encoder made. Sampling draws from `key` (`jax.random.key(0)`). Further
    `processors` are hashable functions that come after those of the settings. `on_tokens` is called
    behind every `every` tokens, without beams. With `mesh`, rows are split over its devices;
    `variables` lie where they are. `empty` says that all prompts may have no token. `token_texts`
    are what `stop_strings` are looked for in (`stops.texts_of`).

    One program is compiled for a bucket of lengths (`bucket`): of prompts, and of new tokens; the
    limits within are data. Raises DataError for a prompt without a token, for one that leaves no
    room in the decoder's positions or below `max_length`, and ConfigError for settings that
    exclude each other, and for `stop_strings` without texts.
    """
    tokens, counts = _right_aligned(prompts, mask, config.padding, empty=empty)
    limits = _limits(counts, config, decoder.most_positions)
    if on_tokens is not None and config.num_beams > 1:
        raise ConfigError(
            109, f"num_beams={config.num_beams} with on_tokens", fix="num_beams=1: beams change"
        )
    times = config.num_return_sequences if config.num_beams == 1 else 1
    if times > 1:
        tokens, limits, context = (repeat_rows(one, times) for one in (tokens, limits, context))
    stops = _stops(config, token_texts, tokens, limits.prompt)
    width = bucket(tokens.shape[1], decoder.most_positions) if tokens.shape[1] else 0
    new = bucket(int(limits.most.max()))
    tokens = np.pad(
        tokens, ((0, 0), (width - tokens.shape[1], new)), constant_values=config.padding
    )
    valid = np.arange(width + new) >= width - limits.prompt[:, None]
    given: Any = (tokens.astype(np.int32), valid, limits, context)
    if mesh is not None:
        given = _split(given, mesh)
        if stops is not None:
            stops = dataclasses.replace(stops, at=_split(stops.at, mesh))
    static: Any = {
        "decoder": decoder,
        "config": _rules(config),
        "processors": processors,
        "new": new,
        "mesh": mesh,
    }
    key = jax.random.key(0) if key is None else key
    run = begin(variables, *given, key, stops, **static)
    most = int(np.max(limits.most))
    del static["new"]
    if on_tokens is None:
        run = proceed(run, variables, *given[1:], most, stops, **static)
    else:
        go_on = functools.partial(proceed, stops=stops, **static)
        run = _streamed(run, (variables, *given[1:]), most, width, on_tokens, every, go_on)
    return _result(run.search, config, times, width, most)


def bucket(length: int, most: int | None = None) -> int:
    """The length that programs are compiled for: a power of two, beyond 64 a multiple of it.

    Not more than `most`, which `length` is not.
    """
    size = 1 << max(0, length - 1).bit_length() if length <= 64 else -(-length // 64) * 64
    return size if most is None else min(size, most)


@functools.partial(
    jax.jit, static_argnames=("decoder", "config", "processors", "new", "mesh"), inline=False
)
def begin(
    variables: Any,
    tokens: Int[Array, "b s"],
    valid: Bool[Array, "b s"],
    limits: Limits,
    context: Any,
    key: Array,
    stops: Stops | None = None,
    *,
    decoder: Decoder,
    config: GenerationConfig,
    processors: tuple[Processor, ...],
    new: int,
    mesh: Mesh | None,
) -> _Run:
    """The prompts through the decoder, and the first token after them."""
    if config.stop_strings:
        raise _without_texts(config)

    def run() -> _Run:
        width = tokens.shape[1] - new
        search = _search(config)
        positions = jnp.maximum(jnp.cumsum(valid[:, :width], axis=1) - 1, 0)
        logits, cache = decoder(
            variables, tokens[:, :width], {}, mask=valid, positions=positions, context=context
        )
        beams = config.num_beams
        if beams > 1:
            rows = jnp.repeat(jnp.arange(tokens.shape[0]), beams)
            cache = decoder.take_rows(cache, rows, of_context=True)
            logits = repeat_rows(logits, beams)
        state = search.start(tokens, width, new, key, config, stops)
        made = make_processors(config, processors)
        state = search.choose(state, logits, valid, limits, config, made, stops)
        return _Run(state, cache)

    return run() if mesh is None else traced_on(mesh, run)()


@functools.partial(
    jax.jit,
    static_argnames=("decoder", "config", "processors", "mesh"),
    donate_argnames=("run",),
)
def proceed(
    run: _Run,
    variables: Any,
    valid: Bool[Array, "b s"],
    limits: Limits,
    context: Any,
    until: Int[Array, ""],
    stops: Stops | None = None,
    *,
    decoder: Decoder,
    config: GenerationConfig,
    processors: tuple[Processor, ...],
    mesh: Mesh | None,
) -> _Run:
    """One token after the other, until each row has ended or has `until` of them."""
    search, beams = _search(config), config.num_beams
    made = make_processors(config, processors)
    mask, prompt, seen = repeat_rows((valid, limits.prompt, context), beams)

    def going(carried: tuple[Any, Any]) -> Array:
        return carried[0].going & (carried[0].count < until)

    def step(carried: tuple[Any, Any]) -> tuple[Any, Any]:
        state, cache = carried
        positions = prompt + state.count - 1
        logits, cache = decoder(
            variables,
            state.newest,
            cache,
            mask=mask,
            positions=positions[:, None],
            context=seen,
        )
        state = search.choose(state, logits, valid, limits, config, made, stops)
        if beams > 1:
            cache = decoder.take_rows(cache, state.parents, of_context=False)
        return state, cache

    def loop() -> _Run:
        state, cache = jax.lax.while_loop(going, step, (run.search, run.cache))
        return _Run(state, cache)

    return loop() if mesh is None else traced_on(mesh, loop)()


def _search(config: GenerationConfig) -> ModuleType:
    return beam if config.num_beams > 1 else sampling


def _rules(config: GenerationConfig) -> GenerationConfig:
    """The settings that a program is compiled for: those that are no data of it."""
    return config.replace(
        max_new_tokens=None,
        max_length=None,
        min_new_tokens=None,
        min_length=0,
        temperature=1.0,
        stop_strings=(),
    )


def _right_aligned(
    prompts: ArrayLike, mask: ArrayLike | None, padding: int, *, empty: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Prompts that end in the last column, and their lengths."""
    tokens = np.asarray(prompts)
    if tokens.ndim != 2 or not np.issubdtype(tokens.dtype, np.integer):
        raise DataError(
            570, f"prompts of shape {tokens.shape} and type {tokens.dtype}", fix="[b n] integers"
        )
    keep = np.ones(tokens.shape, bool) if mask is None else np.asarray(mask).astype(bool)
    if keep.shape != tokens.shape:
        raise DataError(570, f"a mask of shape {keep.shape} for prompts of {tokens.shape}")
    counts = keep.sum(axis=1).astype(np.int32)
    none = counts == 0
    if not tokens.shape[0] or (none.any() and not (empty and none.all())):
        row = int(np.argmin(counts)) if len(counts) else 0
        raise DataError(
            570,
            "an empty prompt has no token to go on from",
            where=f"row {row}",
            fix="begin it with a token, such as bos_token_id",
        )
    order = np.argsort(keep, axis=1, kind="stable")
    tokens = np.where(np.sort(keep, axis=1), np.take_along_axis(tokens, order, axis=1), padding)
    return tokens[:, tokens.shape[1] - max(int(counts.max()), 0) :], counts


def _limits(counts: np.ndarray, config: GenerationConfig, positions: int | None) -> Limits:
    """How many new tokens each row may have."""
    if config.max_new_tokens is not None:
        most = np.full_like(counts, config.max_new_tokens)
        name = "max_new_tokens"
    elif config.max_length is not None:
        most, name = config.max_length - counts, "max_length"
    else:
        most, name = np.full_like(counts, DEFAULT_NEW_TOKENS), "the default"
        if positions is not None:
            most = np.minimum(most, np.maximum(positions - counts, 1))
    if (most < 1).any():
        row = int(np.argmin(most))
        raise DataError(
            571,
            f"a prompt of {counts[row]} tokens leaves no room below max_length={config.max_length}",
            where=f"row {row}",
            fix="a shorter prompt, or max_new_tokens",
        )
    # The last new token is never looked at.
    needed = counts + most - 1
    if positions is not None and (needed > positions).any():
        row = int(np.argmax(needed))
        raise DataError(
            571,
            f"a prompt of {counts[row]} tokens and {most[row]} new ones ({name}) are more than "
            f"the {positions} positions of the decoder",
            where=f"row {row}",
            fix=f"max_new_tokens={positions - counts[row] + 1}"
            if counts[row] <= positions
            else f"a prompt of {positions} tokens at most",
        )
    least = np.maximum(config.min_new_tokens or 0, config.min_length - counts)
    temperature = np.full(len(counts), config.temperature, np.float32) if config.do_sample else None
    return Limits(counts, most.astype(np.int32), least.astype(np.int32), temperature)


def _stops(
    config: GenerationConfig,
    texts: Mapping[int, str] | None,
    tokens: np.ndarray,
    counts: ArrayLike,
) -> Stops | None:
    if not config.stop_strings:
        return None
    if texts is None:
        raise _without_texts(config)
    rows = zip(tokens.tolist(), np.asarray(counts).tolist(), strict=True)
    return stops_of(config.stop_strings, texts, (row[len(row) - count :] for row, count in rows))


def _without_texts(config: GenerationConfig) -> ConfigError:
    return ConfigError(
        109,
        f"stop_strings={config.stop_strings} where the texts of tokens are not known",
        fix="token_texts=..., or stop_sequences, which are ids",
    )


def _split(given: Any, mesh: Mesh) -> Any:
    """Rows over the mesh, where they divide."""
    rows = jax.tree.leaves(given)[0].shape[0]
    ways = int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))
    if rows % ways:
        raise ConfigError(
            108, f"{rows} rows do not divide over {ways} devices", fix=f"a multiple of {ways} rows"
        )
    return jax.device_put(given, batch_sharding(mesh))


def _streamed(
    run: _Run,
    arguments: tuple[Any, ...],
    most: int,
    width: int,
    on_tokens: OnTokens,
    every: int,
    go_on: Callable[..., _Run],
) -> _Run:
    sent, count = 0, 1
    while True:
        tokens = np.asarray(run.search.tokens)
        on_tokens(tokens[:, width + sent : width + count])
        sent = count
        if not bool(run.search.going) or count >= most:
            return run
        run = go_on(run, *arguments, min(count + every, most))
        count = int(run.search.count)


def _result(search: Any, config: GenerationConfig, times: int, width: int, most: int) -> Generated:
    found = jax.device_get(search)
    if config.num_beams > 1:
        best, first = found.best, config.num_return_sequences
        return Generated(
            tokens=best.tokens[:, :first, :most],
            lengths=best.lengths[:, :first],
            scores=best.scores[:, :first],
            token_scores=best.token_scores[:, :first, :most] if config.output_scores else None,
        )

    def grouped(one: np.ndarray) -> np.ndarray:
        return one.reshape(-1, times, *one.shape[1:])

    token_scores = grouped(found.scores[:, :most]) if config.output_scores else None
    return Generated(
        tokens=grouped(found.tokens[:, width : width + most]),
        lengths=grouped(found.lengths),
        scores=None if token_scores is None else token_scores.sum(axis=-1),
        token_scores=token_scores,
    )
