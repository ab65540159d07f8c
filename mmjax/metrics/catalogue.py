"""Ranking a whole catalogue for every user, on the device: places, the first k, and sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mmjax.core.typing import Array, Bool, Float, Int

CHUNK = 16384


@struct.dataclass
class Ranked:
    """Where the relevant items of each row are among those that were not seen.

    `ranks` are counted from 1, the lower index first among equal scores; 0 where there is no such
    item. `ahead` is the number of irrelevant items with a higher score, those of an equal one
    counted half. `relevant` and `candidates` count a row's relevant and all its unseen items.
    """

    ranks: Int[Array, "b m"]
    ahead: Float[Array, "b m"]
    relevant: Int[Array, "b"]
    candidates: Int[Array, "b"]
    items: Int[Array, "b k"]
    """The first k, best first."""
    scores: Float[Array, "b k"]
    """Theirs, -inf where there are fewer."""
    log_normalizer: Float[Array, "b"]
    """log sum exp of the scores of all candidates."""


def rank_catalogue(
    users: Float[Array, "b d"],
    items: Float[Array, "n d"],
    bias: Float[Array, "n"],
    relevant: Int[Array, "b m"],
    seen: Bool[Array, "b n"] | None = None,
    *,
    top: int = 10,
    chunk: int = CHUNK,
) -> Ranked:
    """Ranks of items by `users @ items.T + bias`, for use inside jit, in float32.

    `relevant` holds places in the catalogue, -1 where there is none. Items that a row has `seen`
    are neither ranked nor relevant. No more than `chunk` columns of the scores exist at a time.
    """
    count, size = items.shape[0], min(chunk, items.shape[0])
    users = users.astype(jnp.float32)
    parts = -(-count // size)
    places = jnp.arange(parts * size).reshape(parts, size)
    clipped = jnp.minimum(places, count - 1)
    wanted = jnp.maximum(relevant, 0)
    valid = relevant >= 0
    if seen is not None:
        valid &= ~jnp.take_along_axis(seen, wanted, axis=1)

    def scores_of(at: Array, here: Array) -> Array:
        found = jnp.einsum("bd,nd->bn", users, items[at].astype(jnp.float32), precision="highest")
        found = found + bias[at]
        hidden = ~here[None] if seen is None else ~here[None] | seen[:, at]
        return jnp.where(hidden, -jnp.inf, found)

    def find(carry: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        """The scores of relevant items as the matrix has them, to the last bit."""
        at, index = part
        inside = (relevant >= index[0]) & (relevant < index[0] + size)
        column = jnp.clip(relevant - index[0], 0, size - 1)
        found = jnp.take_along_axis(scores_of(at, index < count), column, axis=1)
        return jnp.where(inside, found, carry), None

    own, _ = jax.lax.scan(find, jnp.zeros(relevant.shape), (clipped, places))

    def look(carry: tuple[Array, ...], part: tuple[Array, Array]) -> tuple[tuple, None]:
        above, equal, before, candidates, best, best_items, highest, total = carry
        at, index = part
        scores = scores_of(at, index < count)
        shown = scores > -jnp.inf
        more = (scores[:, None] > own[..., None]).sum(axis=-1)
        same = (scores[:, None] == own[..., None]) & shown[:, None]
        earlier = same & (index[None, None] < relevant[..., None])
        own_best, chosen = jax.lax.top_k(scores, min(best.shape[1], size))
        joined = jnp.concatenate([best, own_best], axis=1)
        named = jnp.concatenate([best_items, index[chosen]], axis=1)
        best, chosen = jax.lax.top_k(joined, best.shape[1])
        best_items = jnp.take_along_axis(named, chosen, axis=1)
        peak = jnp.maximum(highest, scores.max(axis=1))
        safe = jnp.where(jnp.isfinite(peak), peak, 0.0)
        total = total * jnp.exp(jnp.where(jnp.isfinite(highest), highest, safe) - safe)
        total = total + jnp.exp(scores - safe[:, None]).sum(axis=1)
        counted = candidates + shown.sum(axis=1)
        return (
            above + more, equal + same.sum(axis=-1), before + earlier.sum(axis=-1),
            counted, best, best_items, peak, total,
        ), None  # fmt: skip

    rows, keep = users.shape[0], min(top, count)
    none = jnp.zeros(relevant.shape, jnp.int32)
    start = (
        none, none, none, jnp.zeros(rows, jnp.int32),
        jnp.full((rows, keep), -jnp.inf), jnp.zeros((rows, keep), places.dtype),
        jnp.full(rows, -jnp.inf), jnp.zeros(rows),
    )  # fmt: skip
    found, _ = jax.lax.scan(look, start, (clipped, places))
    above, equal, before, candidates, best, best_items, highest, total = found
    both = valid[:, None] & valid[:, :, None]
    pairs = own[:, None] - own[..., None]  # [b i j]: score j over score i
    others = jnp.where(both, (pairs > 0) + 0.5 * (pairs == 0), 0.0).sum(axis=-1)
    ahead = above + 0.5 * equal - others
    return Ranked(
        jnp.where(valid, 1 + above + before, 0).astype(jnp.int32),
        jnp.where(valid, ahead, 0.0),
        valid.sum(axis=1),
        candidates,
        best_items,
        best,
        jnp.log(jnp.maximum(total, 1e-37)) + jnp.where(jnp.isfinite(highest), highest, 0.0),
    )


def catalogue_sums(
    ranked: Ranked, rows: Float[Array, "b"], *, ks: Sequence[int] = (1, 5, 10)
) -> dict[str, Array]:
    """Float32 sums over the rows of one batch, each counted `rows` times (0 for padding).

    Rows without a relevant item count in `left_out` alone.
    """
    counts = ranked.relevant.astype(jnp.float32)
    weight = rows.astype(jnp.float32) * (counts > 0)
    here = ranked.ranks > 0
    ranks = jnp.sort(jnp.where(here, ranked.ranks, np.iinfo(np.int32).max), axis=1)
    known = jnp.arange(ranks.shape[1]) < ranked.relevant[:, None]
    places = jnp.where(known, ranks, 1).astype(jnp.float32)
    order = jnp.arange(1, ranks.shape[1] + 1, dtype=jnp.float32)
    some = jnp.maximum(counts, 1.0)

    def total(values: Array) -> Array:
        return jnp.sum(jnp.where(weight > 0, values, 0.0) * weight)

    sums = {}
    for k in ks:
        found = known & (places <= k)
        gain = jnp.where(found, 1.0 / jnp.log2(1.0 + places), 0.0).sum(axis=1)
        ideal = jnp.where(known & (order <= k), 1.0 / jnp.log2(1.0 + order), 0.0).sum(axis=1)
        sums[f"hit_rate@{k}"] = total(found.any(axis=1).astype(jnp.float32))
        sums[f"recall@{k}"] = total(found.sum(axis=1) / some)
        sums[f"ndcg@{k}"] = total(gain / jnp.maximum(ideal, 1e-9))
    sums["mrr"] = total(1.0 / places[:, 0])
    sums["map"] = total(jnp.where(known, order / places, 0.0).sum(axis=1) / some)
    negatives = (ranked.candidates - ranked.relevant).astype(jnp.float32)
    area = 1.0 - ranked.ahead.sum(axis=1) / (some * jnp.maximum(negatives, 1.0))
    decided = (negatives > 0).astype(jnp.float32)
    sums["auc"] = total(area * decided)
    sums["auc_users"] = total(decided)
    sums["users"] = weight.sum()
    sums["left_out"] = jnp.sum(rows.astype(jnp.float32) * (counts == 0))
    return sums


def catalogue_from_sums(sums: Mapping[str, Any]) -> dict[str, float]:
    """Means over the users with a relevant item that they had not seen, NaN if there are none.

    - `hit_rate@<k>`: the share of users with a relevant item among the first k.
    - `recall@<k>`: the relevant items among the first k, over all relevant ones.
    - `ndcg@<k>`: discounted gain over that of the best order, as scikit-learn's `ndcg_score`.
    - `mrr`: 1 / rank of the first relevant item; `map`: average precision over all ranks.
    - `auc`: the chance that a relevant item is ranked before an irrelevant one, equal scores half.
    - `users`, `left_out`: how many users count, and how many have no relevant item.
    """
    values = {name: float(np.asarray(value, np.float64)) for name, value in sums.items()}
    users, decided = values.pop("users"), values.pop("auc_users")
    left_out, area = values.pop("left_out"), values.pop("auc")
    nan = float("nan")
    return {
        **{name: value / users if users else nan for name, value in values.items()},
        "auc": area / decided if decided else nan,
        "users": users,
        "left_out": left_out,
    }
