"""A decoder of text: causal, with what it looks at beside the words or before them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import Decoded, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.nn.attention import causal_mask
from mmjax.nn.cache import COLLECTION, advance, caching, mask_of_step
from mmjax.nn.dense import dense, embedding, parameter
from mmjax.nn.lm_head import LMHead
from mmjax.nn.norms import layer_norm
from mmjax.nn.pooling import last_valid
from mmjax.nn.stack import Remat
from mmjax.nn.transformer import BlockSettings, Transformer


class CausalDecoder(BlockSettings, kw_only=True):
    """Words that look at those before them, at a context and at a prefix, and guess the next.

    With `cross_attention`, each block looks at the tokens of `context`, in any width, normalised
    first (`context_norm`). The tokens of `prefix`, projected to `width`, stand before the words and
    see each other (PrefixLM, Raffel et al. 2020; SimVLM, Wang et al. 2022). A row whose context or
    prefix has no valid token is decoded from its words alone.

    Words are ids, which have a table and learned positions, or vectors that another module made of
    them (the unimodal layers of CoCa, Yu et al. 2022), which are taken as they are, projected where
    their width differs. With `learned_start`, a learned vector stands before the first word, for
    tokenizers that begin a text with no token of their own. The head is the table of words
    (`tied`), which comes with vectors as `table`, or its own.
    """

    vocab_size: int
    max_length: int
    """Words that there are positions for."""
    width: int
    depth: int
    tied: bool = True
    learned_start: bool = False
    context_norm: bool = True
    scan: bool = False
    remat: Remat = "none"

    def __call__(
        self,
        words: Int[ArrayLike, "b n"] | Float[Array, "b n w"],
        mask: Bool[ArrayLike, "b m"] | Int[ArrayLike, "b m"] | None = None,
        *,
        context: Tokens | None = None,
        prefix: Tokens | None = None,
        given: Bool[Array, "b n"] | None = None,
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        table: Float[Array, "v d"] | None = None,
        train: bool,
    ) -> Decoded:
        """Logits of the token behind each word, `[b n v]`; `[b 1+n v]` with `learned_start`, the
        first of which are of the first word.

        `given` marks the first words of a row, which see each other as those of the prefix do.
        `tokens` are the last hidden states of the words, `encoder` is the context. Raises
        ConfigError for a context that is missing or of no use, for more words than `max_length`,
        and for vectors with a tied head whose table is missing or has another width.
        """
        tokens, head, table = self._run(
            words,
            mask,
            context=context,
            prefix=prefix,
            given=given,
            position_ids=position_ids,
            table=table,
            train=train,
        )
        return Decoded(head(tokens.values, table), tokens, context)

    def decode(
        self,
        words: Int[ArrayLike, "b n"],
        encoder: Tokens | None,
        mask: Bool[ArrayLike, "b m"] | None = None,
        position_ids: Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Decoded:
        """What an encoder-decoder's `decode` is called with: the context, or else the prefix.

        Where a cache is kept (`nn.cache`), the words are the next ones, and the mask is that of the
        slots of all words.
        """
        return self(
            words,
            mask,
            context=encoder if self.cross_attention else None,
            prefix=None if self.cross_attention else encoder,
            position_ids=position_ids,
            train=train,
        )

    @property
    def most_positions(self) -> int | None:
        """How many words can be decoded."""
        return self.max_length

    def losses(
        self,
        words: Int[ArrayLike, "b n"] | Float[Array, "b n w"],
        labels: Int[Array, "b _"],
        mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        context: Tokens | None = None,
        prefix: Tokens | None = None,
        given: Bool[Array, "b n"] | None = None,
        table: Float[Array, "v d"] | None = None,
        label_smoothing: float = 0.0,
        train: bool,
    ) -> tuple[Float[Array, "b _"], Bool[Array, "b _"]]:
        """Of each token of `labels`, one for each place of the logits, its cross-entropy in float32
        and whether its logit is the largest.

        The logits of all tokens need not exist at once: `nn.lm_head.LMHead.losses`.
        """
        tokens, head, table = self._run(
            words, mask, context=context, prefix=prefix, given=given, table=table, train=train
        )
        return head.losses(tokens.values, labels, table, label_smoothing=label_smoothing)

    @nn.compact
    def _run(
        self,
        words: ArrayLike,
        mask: ArrayLike | None,
        *,
        context: Tokens | None,
        prefix: Tokens | None,
        given: Array | None,
        position_ids: ArrayLike | None = None,
        table: Array | None,
        train: bool,
    ) -> tuple[Tokens, LMHead, Array | None]:
        """The last hidden states, the head, and the table that it is tied to."""
        self._check(words, context, table)
        later = caching(self) and self.has_variable(COLLECTION, "slot")
        valid = jnp.ones(words.shape[:2], bool) if mask is None else jnp.asarray(mask, bool)
        shown = jnp.zeros_like(valid) if given is None else given
        values, own_table = self._embed(words, position_ids)
        if self.learned_start:
            init, axes = nn.initializers.normal(0.02), ("tokens", "embed")
            start = parameter(self, "start", (1, self.width), axes, init=init, **self.types())
            start = jnp.broadcast_to(start, (valid.shape[0], *start.shape))
            values = values if later else jnp.concatenate([start, values], axis=1)
            first = jnp.ones((valid.shape[0], 1), bool)
            valid = jnp.concatenate([first, valid], axis=1)
            shown = jnp.concatenate([first, shown], axis=1)
        before = 0
        if prefix is not None:
            if not later:
                before = prefix.mask.shape[1]
                project = dense(self.width, ("embed", "joined"), name="prefix", **self.types())
                values = jnp.concatenate([project(prefix.values), values], axis=1)
            valid = jnp.concatenate([prefix.mask, valid], axis=1)
            shown = jnp.concatenate([prefix.mask, shown], axis=1)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        seen: tuple[Any, ...] = (None, None)
        if context is not None:
            seen = (context.values, context.mask)
            if self.context_norm:
                norm = layer_norm(name="context_norm", eps=self.eps, **self.types())
                seen = (norm(context.values), context.mask)
        names = {field.name for field in dataclasses.fields(BlockSettings)} - {"parent", "name"}
        blocks = Transformer(
            **{name: getattr(self, name) for name in sorted(names)},
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            name="transformer",
        )
        count = values.shape[1]
        slot = advance(self, count) if caching(self) else None
        looks = prefix_mask(valid, shown, slot, count)
        values = blocks(values, looks, *seen, train=train)[:, before:]
        valid = valid[:, before:] if slot is None else mask_of_step(valid, count - before)
        head = LMHead(vocab_size=self.vocab_size, use_bias=False, name="head", **self.types())
        table = table if own_table is None else own_table
        return Tokens(values, valid, last_valid(values, valid)), head, table if self.tied else None

    def _embed(
        self, words: ArrayLike, position_ids: Int[ArrayLike, "#b n"] | None
    ) -> tuple[Float[Array, "b n d"], Float[Array, "v d"] | None]:
        """Words before the blocks, and their table."""
        if words.ndim == 3:
            values = jnp.asarray(words, self.dtype)
            if values.shape[-1] != self.width:
                own = dense(self.width, ("embed", "joined"), name="words", **self.types())
                values = own(values)
            return values, None
        table = embedding(self.vocab_size, self.width, name="words", **self.types())
        values = table(jnp.asarray(words))
        if position_ids is None:
            position_ids = jnp.arange(words.shape[1])[None]
        positions = parameter(
            self,
            "positions",
            (self.max_length, self.width),
            ("tokens", "embed"),
            init=nn.initializers.normal(0.02),
            **self.types(),
        )
        values = values + positions[jnp.asarray(position_ids)]
        return values, jnp.asarray(table.embedding)

    def _check(self, words: ArrayLike, context: Tokens | None, table: Array | None) -> None:
        if (context is None) == self.cross_attention:
            raise ConfigError(
                109,
                f"cross_attention={self.cross_attention}, and a context is "
                f"{'missing' if context is None else 'given'}",
                fix=f"cross_attention={not self.cross_attention}",
            )
        if words.ndim == 2 and words.shape[1] > self.max_length:
            raise ConfigError(
                109,
                f"{words.shape[1]} words are more than max_length={self.max_length}",
                fix="cut them, or take a decoder with more positions",
            )
        if words.ndim == 3 and self.tied:
            width = None if table is None else table.shape[1]
            if width != self.width:
                raise ConfigError(
                    109,
                    f"a head of width {self.width} tied to a table of width {width}",
                    where="objectives.tied",
                    fix="tied=False, or the same width",
                )


def prefix_mask(
    valid: Bool[Array, "b m"],
    shown: Bool[Array, "b m"],
    first: Int[Array, ""] | None = None,
    count: int | None = None,
) -> Bool[Array, "b 1 n m"]:
    """`nn.attention.causal_mask`, with keys besides that every query may look at: those `shown`.

    `shown` are the first tokens of a row, which nothing is guessed of.
    """
    seen = causal_mask(valid, first, count)
    return seen | (valid & shown)[:, None, None, :]
