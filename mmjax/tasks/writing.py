"""A text decoder as a task has it: what it looks at, its loss, and what it writes."""

from __future__ import annotations

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
from mmjax.generate.decoder import LinenDecoder
from mmjax.generate.state import Limits
from mmjax.nn.text_decoder import CausalDecoder
from mmjax.tasks.spans import tokens_of

Seen = Mapping[str, Tokens]
"""What a writer looks at: its `context`, its `prefix`, or both."""


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
class Written:
    """The best text of each row: ids, its end included and padding behind, how many they are, and
    its score: the log-probability over the number of ids to the power of the length penalty.
    """

    ids: Int[Array, "b n"]
    lengths: Int[Array, "b"]
    scores: Float[Array, "b"]


def seen_of(fused: Fused, *, before: tuple[str, ...], as_prefix: bool) -> Seen:
    """The tokens of the modalities `before` as a prefix, all others as a context.

    With `as_prefix`, all are a prefix. Raises ConfigError for a modality that is not there.
    """
    if as_prefix:
        return {"prefix": Tokens(fused.values, fused.mask, fused.pooled)}
    parts = [tokens_of(fused, name) for name in before]
    rest = [span for name, span in fused.spans.items() if name not in before]
    if not parts or not rest:
        return {"context": Tokens(fused.values, fused.mask, fused.pooled)}
    found = {}
    others = [(fused.values[:, a:b], fused.mask[:, a:b]) for a, b in rest]
    for name, some in (("prefix", parts), ("context", others)):
        values, mask = (jnp.concatenate(one, axis=1) for one in zip(*some, strict=True))
        found[name] = Tokens(values, mask, fused.pooled)
    return found


def shifted(
    labels: Int[Array, "b n"], *, start: int, pad: int
) -> tuple[Int[Array, "b n"], Int[Array, "b n"], Bool[Array, "b n"]]:
    """What the decoder is given, what it shall say, and which of that counts.

    Ids of `labels` below 0 stand behind the end of a text.
    """
    counts = labels >= 0
    words = jnp.where(counts, labels, pad)
    first = jnp.full((labels.shape[0], 1), start, words.dtype)
    return jnp.concatenate([first, words[:, :-1]], axis=1), jnp.maximum(labels, 0), counts


def write(
    writer: Writer,
    parameters: Any,
    seen: Seen,
    config: GenerationConfig,
    *,
    rows: int,
    start: int,
    key: Array | None = None,
) -> Written:
    """What the writer says of `rows` rows, within jit: `generate` with one first token each.

    `config` has `max_new_tokens`, and its ids. Raises ConfigError for more than there are positions
    for, and for several texts a row.
    """
    new = config.max_new_tokens or config.max_length or writer.max_length
    if new > writer.max_length or config.num_return_sequences != 1:
        raise ConfigError(
            109,
            f"max_new_tokens={new}, num_return_sequences={config.num_return_sequences}",
            where="task.decoding",
            fix=f"{writer.max_length} tokens at most, as the target's max_length, and one text",
        )
    tokens = jnp.full((rows, 1 + new), config.padding, jnp.int32).at[:, 0].set(start)
    valid = jnp.ones(tokens.shape, bool)
    least = max(config.min_new_tokens or 0, config.min_length - 1)
    whole = [jnp.full(rows, one, jnp.int32) for one in (1, new, least)]
    limits = Limits(prompt=whole[0], most=whole[1], least=whole[2])
    rules = config.replace(
        max_new_tokens=None, max_length=None, min_new_tokens=None, min_length=0, output_scores=True
    )
    static: Any = {"config": rules, "processors": (), "mesh": None}
    decoder = LinenDecoder(writer)
    variables = {"params": parameters}
    key = jax.random.key(0) if key is None else key
    run = engine.begin(
        variables, tokens, valid, limits, seen, key, decoder=decoder, new=new, **static
    )
    until = jnp.asarray(new, jnp.int32)
    run = engine.proceed(run, variables, valid, limits, seen, until, decoder=decoder, **static)
    search = run.search
    if config.num_beams > 1:
        best = search.best
        return Written(best.tokens[:, 0], best.lengths[:, 0], best.scores[:, 0])
    lengths = jnp.maximum(search.lengths, 1).astype(jnp.float32)
    scores = search.scores.sum(axis=1) / lengths**config.length_penalty
    return Written(search.tokens[:, 1:], search.lengths, scores)
