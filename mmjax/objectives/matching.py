"""Whether two modalities belong together, told from their fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import Fused, ObjectiveOutput, Tokens
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.nn.dense import dense
from mmjax.nn.pooling import masked_mean
from mmjax.objectives.base import Context, Objective, output, require_modalities
from mmjax.objectives.pairwise import MASKED, by_rows, cosines
from mmjax.parallel.sharding import everywhere


def hard_negatives(
    a: Float[Array, "b e"],
    b: Float[Array, "b e"],
    logit_scale: Float[Array, ""] | float,
    valid: Bool[Array, "b"],
    key: Array | None = None,
    *,
    rows: Int[Array, "b"] | None = None,
    among: int | None = None,
    chunk: int | None = None,
) -> Int[Array, "b"]:
    """For each row i a column j that is no true pair, with probability ~ exp(scale a_i . b_j).

    The hard negatives of ALBEF (Li et al. 2021, section 3.2). Never i itself, a column where
    `valid` is False, one that is the same example (equal in `rows`), or with `among` one outside
    the row's own block of so many; -1 where none is left.
    Without a key, the most similar one. Drawn by the largest of Gumbel-perturbed logits, each row
    with a key of its own: neither mesh nor `chunk` (as in `chunk_of`) changes what is drawn, and
    no more than `chunk` rows of the similarities exist at a time. No gradient flows.
    """
    a, b = jax.lax.stop_gradient((a, b))
    b = everywhere(b)

    def of_rows(index: Array, own: Array, example: Array) -> Array:
        others = valid[None, :] & (index[:, None] != jnp.arange(len(valid)))
        if among is not None:
            others &= index[:, None] // among == jnp.arange(len(valid)) // among
        if rows is not None:
            others &= example[:, None] != rows[None, :]
        logits = jnp.where(others, logit_scale * cosines(own, b), MASKED)
        if key is None:
            chosen = jnp.argmax(logits, axis=1)
        else:
            keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(index)
            chosen = jax.vmap(jax.random.categorical)(keys, logits)
        return jnp.where(others.any(axis=1), chosen, -1)

    given = jnp.zeros_like(valid, jnp.int32) if rows is None else rows
    return by_rows(of_rows, (jnp.arange(len(valid)), a, given), chunk)


def matching_loss(
    logits: Float[Array, "*n 2"],
    matches: Bool[Array, "*n"],
    *,
    mask: Bool[Array, "*n"] | None = None,
) -> Float[Array, ""]:
    """The mean cross-entropy of "no pair" (0) and "pair" (1), where `mask` is True; in float32."""
    mask = jnp.ones(matches.shape, bool) if mask is None else mask
    return output(_losses(logits, matches), mask).loss


def _losses(logits: Float[Array, "*n 2"], matches: Bool[Array, "*n"]) -> Float[Array, "*n"]:
    # With two classes, the softmax is the sigmoid of the difference.
    margin = logits[..., 1].astype(jnp.float32) - logits[..., 0].astype(jnp.float32)
    return -jax.nn.log_sigmoid(jnp.where(matches, margin, -margin))


class Matching(Objective, kw_only=True):
    """Image-text, video-text or audio-text matching: is a fused pair a true one?

    Of each row, the true pair and a wrong partner for either side, taken from the batch: a dense
    layer on `Fused.pooled` tells true from wrong (ALBEF, Li et al. 2021, section 3.2). Wrong
    partners are sampled by their similarity in the joint space divided by `temperature`, the
    nearest ones in evaluation; without `hard_negatives`, uniformly and without a joint space. Rows
    of one thing (`Context.things`) are never wrong partners.

    With `reads="product"` the layer reads the product of the two sides' fused tokens, each side's
    mean over its span (ViLBERT, Lu et al. 2019, section 3.1, multiplies the two summaries).

    Modalities beyond the pair are hidden from the fusion.
    """

    pair: tuple[str, str] = ("text", "image")
    hard_negatives: bool = True
    temperature: float = 0.07
    reads: Literal["pooled", "product"] = "pooled"
    among: int | None = None
    """Rows of the batch, in their order, among which each has its wrong partners; None is all.

    Tokens of wrong partners are gathered: of all the batch on every device, which at some number of
    devices none has room for (benchmarks/scaling.py). Of blocks that lie on one device each,
    nothing is sent. ALBEF and BLIP take the rows of a device, 64 and more."""
    chunk: int | None = None
    """Rows of the similarities that exist at a time; None is all of up to 4096, else 1024."""

    batch_coupled: ClassVar[bool] = True
    uses_fusion: ClassVar[bool] = True

    @property
    def uses_joint_space(self) -> bool:  # type: ignore[override]
        return self.hard_negatives

    def baseline(self, data: Any, split: str) -> dict[str, float]:
        """What calling every pair wrong gets: two of three are, where no partner is missing."""
        return {"accuracy": 2 / 3}

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        require_modalities(self.pair, context.modalities, "objectives.pair")
        a, b = self.pair
        rows = context.rows(a, b)
        if self.among is not None and (self.among < 2 or len(rows) % self.among):
            raise ConfigError(
                109,
                f"blocks of {self.among} in a batch of {len(rows)} rows",
                where="objectives.matching.among",
                fix=f"a divisor: {', '.join(str(one) for one in _divisors(len(rows)))}",
            )
        wrong_b, wrong_a = self._wrong(context, rows, train=train)
        own = jnp.arange(len(rows))
        # One fusion over three pairs of each row; a row's pairs stay together, on its device.
        chosen = {a: jnp.stack([own, own, wrong_a], 1), b: jnp.stack([own, wrong_b, own], 1)}
        counts = rows[:, None] & (jnp.minimum(chosen[a], chosen[b]) >= 0)
        fused = context.fuse(
            {
                name: _take(context.tokens(name), chosen[name], self.among or len(rows))
                if name in chosen
                else _absent(context.tokens(name), 3 * len(rows))
                for name in context.modalities
            }
        )
        seen = fused.pooled if self.reads == "pooled" else _product(fused, self.pair)
        logits = dense(2, ("embed", "labels"), name="head", **self.types())(seen)
        logits = einops.rearrange(logits, "(b k) c -> b k c", k=3)
        matches = jnp.broadcast_to(jnp.arange(3) == 0, counts.shape)
        right = (logits[..., 1] > logits[..., 0]) == matches
        sums: Mapping[str, Array] = {"accuracy_sum": jnp.sum(right & counts).astype(jnp.float32)}
        return output(_losses(logits, matches), counts, sums)

    def _wrong(
        self, context: Context, rows: Bool[Array, "b"], *, train: bool
    ) -> tuple[Int[Array, "b"], Int[Array, "b"]]:
        """For each row a wrong partner on either side."""
        a, b = self.pair
        keys: tuple[Array | None, ...] = (None, None)
        if train or not self.hard_negatives:
            keys = tuple(jax.random.split(self._key(train=train)))
        ours = theirs = jnp.zeros((len(rows), 1), jnp.float32)
        if self.hard_negatives:
            ours, theirs = context.embed(a), context.embed(b)

        def wrong(own: Array, others: Array, key: Array | None) -> Int[Array, "b"]:
            scale = 1.0 / self.temperature
            return hard_negatives(
                own,
                others,
                scale,
                rows,
                key,
                rows=context.things,
                among=self.among,
                chunk=self.chunk,
            )

        return wrong(ours, theirs, keys[0]), wrong(theirs, ours, keys[1])

    def _key(self, *, train: bool) -> Array:
        """Of this step in training, else always the same."""
        data = jnp.zeros(2, jnp.uint32)
        if train and self.has_rng("mask"):
            data = jax.random.bits(self.make_rng("mask"), (2,), jnp.uint32)
        return jax.random.wrap_key_data(data, impl="threefry2x32")


def _product(fused: Fused, pair: tuple[str, str]) -> Float[Array, "b d"]:
    """The two sides' summaries, multiplied."""
    spans = [slice(*fused.spans[name]) for name in pair]
    ours, theirs = (masked_mean(fused.values[:, s], fused.mask[:, s]) for s in spans)
    return ours * theirs


def _divisors(rows: int) -> list[int]:
    return [one for one in range(2, rows + 1) if rows % one == 0]


def _take(tokens: Tokens, chosen: Int[Array, "b k"], among: int) -> Tokens:
    """The tokens of the chosen rows, each of which lies in its own row's block of `among`."""
    if among == len(chosen):
        return jax.tree.map(lambda x: x[jnp.maximum(chosen, 0).reshape(-1)], tokens)
    index = einops.rearrange(jnp.maximum(chosen, 0) % among, "(g b) k -> g (b k)", b=among)

    def of(x: Array) -> Array:
        blocks = x.reshape(-1, among, *x.shape[1:])
        taken = jax.vmap(lambda block, index: block[index])(blocks, index)
        return taken.reshape(-1, *x.shape[1:])

    return jax.tree.map(of, tokens)


def _absent(tokens: Tokens, rows: int) -> Tokens:
    return jax.tree.map(lambda x: jnp.zeros((rows, *x.shape[1:]), x.dtype), tokens)
