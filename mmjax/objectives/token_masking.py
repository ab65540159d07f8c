"""Which tokens of a text are hidden, and what stands in their place."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mmjax.core.typing import Array, ArrayLike, Bool, Int

_MASKED, _RANDOM = 0.8, 0.1


@struct.dataclass
class HiddenTokens:
    """The tokens of each row that are to be guessed; there is room for the most that a row hides.

    `places` are those in the row, each once, and `ids` what stood there, where `mask` is True.
    """

    places: Int[Array, "b m"]
    ids: Int[Array, "b m"]
    mask: Bool[Array, "b m"]


def most_hidden(length: int, share: float = 0.15) -> int:
    """How many of `length` tokens are hidden: the share, rounded, one at least (BERT's)."""
    return max(1, round(length * share))


def mask_tokens(
    ids: Int[ArrayLike, "b n"],
    mask: Bool[ArrayLike, "b n"],
    keys: Array,
    *,
    mask_id: int,
    vocab_size: int,
    special_ids: Sequence[int] = (),
    share: float = 0.15,
    word_starts: Bool[np.ndarray, "v"] | None = None,
) -> tuple[Int[Array, "b n"], HiddenTokens]:
    """BERT's masking (Devlin et al. 2019, section 3.1), with one threefry key a row in `keys`.

    Of a row, `most_hidden` of its valid tokens are chosen evenly among those that are not special:
    a count, not a chance each, as in BERT's `create_pretraining_data.py`, so that no row is without
    one and no more are chosen than there is room for. Of these, 80 % become `mask_id`, 10 % a
    random id that is not special, and 10 % stay.

    With `word_starts`, a flag for each id, whole words are chosen (Cui et al. 2021): in random
    order, as far as they fit into the count. If none does, the count is that of the row's shortest
    word, as far as there is room.
    """
    ids, mask = jnp.asarray(ids), jnp.asarray(mask, bool)
    special = np.array(sorted(set(special_ids)), np.int32)
    length = ids.shape[1]
    room = most_hidden(length, share)
    counts = jnp.asarray([most_hidden(n, share) for n in range(length + 1)], jnp.int32)
    candidates = mask & ~jnp.isin(ids, special)
    budgets = counts[mask.sum(axis=1)]
    keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    priorities = jax.vmap(lambda key: jax.random.uniform(key, (length,)))(keys[:, 0])
    if word_starts is not None:
        starts = jnp.asarray(word_starts)[ids] | _after(~candidates)
        words = jnp.cumsum(starts, axis=1) - 1
        chosen = jax.vmap(_choose_words, in_axes=(0, 0, 0, 0, None))(
            words, candidates, priorities, budgets, room
        )
        priorities = jnp.where(chosen, priorities, 2.0)
        budgets = chosen.sum(axis=1)
    else:
        priorities = jnp.where(candidates, priorities, 2.0)
        budgets = jnp.minimum(budgets, candidates.sum(axis=1))
    places = jnp.argsort(priorities, axis=1)[:, :room].astype(jnp.int32)
    hidden = jnp.arange(room) < budgets[:, None]
    own = jnp.take_along_axis(ids, places, axis=1)
    # The k-th id that is not special is k and as many as there are special ones up to it.
    ordinary = vocab_size - len(special)
    drawn = jax.vmap(lambda key: jax.random.randint(key, (room,), 0, ordinary))(keys[:, 1])
    drawn += jnp.searchsorted(special - np.arange(len(special)), drawn, side="right")
    what = jax.vmap(lambda key: jax.random.uniform(key, (room,)))(keys[:, 2])
    new = jnp.where(what < _MASKED, mask_id, jnp.where(what < _MASKED + _RANDOM, drawn, own))
    new = jnp.where(hidden, new, own).astype(ids.dtype)
    changed = jnp.put_along_axis(ids, places, new, axis=1, inplace=False)
    return changed, HiddenTokens(places, jnp.where(hidden, own, 0), hidden)


def _after(flags: Bool[Array, "b n"]) -> Bool[Array, "b n"]:
    """True where the token before has it, and at the beginning."""
    return jnp.pad(flags[:, :-1], ((0, 0), (1, 0)), constant_values=True)


def _choose_words(
    words: Int[Array, "n"],
    candidates: Bool[Array, "n"],
    priorities: Array,
    budget: Int[Array, ""],
    room: int,
) -> Bool[Array, "n"]:
    """The tokens of the words that fit, in the order of the priorities of their words.

    A word that does not fit any more never will: taking the first that fits, over and over, is
    BERT's walk over all words, in at most `room` steps.
    """
    length = len(words)
    sizes = jnp.zeros(length, jnp.int32).at[words].add(candidates)
    shortest = jnp.min(jnp.where(sizes > 0, sizes, length + 1))
    budget = jnp.maximum(budget, jnp.where(shortest <= room, shortest, 0))

    def one(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        taken, left = carry
        fits = (sizes > 0) & ~taken & (sizes <= left)
        first = jnp.argmin(jnp.where(fits, priorities, 2.0))
        return taken.at[first].max(fits[first]), left - jnp.where(fits[first], sizes[first], 0)

    taken, _ = jax.lax.fori_loop(0, room, one, (jnp.zeros(length, bool), budget))
    return taken[words] & candidates
