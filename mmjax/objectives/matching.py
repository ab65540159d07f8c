"""Whether two modalities belong together, told from their fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput, Tokens
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.nn.dense import dense
from mmjax.objectives.base import Context, Objective, output, require_modalities

_MASKED = -1e30


def sample_negatives(
    similarity: Float[Array, "b b"],
    valid: Bool[Array, "b"],
    key: Array | None = None,
    *,
    rows: Int[Array, "b"] | None = None,
) -> Int[Array, "b"]:
    """For each row i a column j that is no true pair, with probability ~ exp(similarity[i, j]).

    The hard negatives of ALBEF (Li et al. 2021, section 3.2). Never i itself, a column where
    `valid` is False, or one that is the same example (equal in `rows`); -1 where none is left.
    Without a key, the most similar one. With a threefry key the result depends on no mesh.
    """
    others = valid[None, :] & ~jnp.eye(len(valid), dtype=bool)
    if rows is not None:
        others &= rows[:, None] != rows[None, :]
    logits = jnp.where(others, similarity.astype(jnp.float32), _MASKED)
    if key is None:
        chosen = jnp.argmax(logits, axis=1)
    else:
        chosen = jax.random.categorical(key, logits, axis=1)
    return jnp.where(others.any(axis=1), chosen, -1)


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
    nearest ones in evaluation; without `hard_negatives`, uniformly and without a joint space.

    Modalities beyond the pair are hidden from the fusion.
    """

    pair: tuple[str, str] = ("text", "image")
    hard_negatives: bool = True
    temperature: float = 0.07

    batch_coupled: ClassVar[bool] = True
    uses_fusion: ClassVar[bool] = True

    @property
    def uses_joint_space(self) -> bool:  # type: ignore[override]
        return self.hard_negatives

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        require_modalities(self.pair, context.modalities, "objectives.pair")
        a, b = self.pair
        rows = context.rows(a, b)
        wrong_b, wrong_a = self._wrong(context, rows, train=train)
        own = jnp.arange(len(rows))
        # One fusion over three pairs of each row; a row's pairs stay together, on its device.
        chosen = {a: jnp.stack([own, own, wrong_a], 1), b: jnp.stack([own, wrong_b, own], 1)}
        counts = rows[:, None] & (jnp.minimum(chosen[a], chosen[b]) >= 0)
        fused = context.fuse(
            {
                name: _take(context.tokens(name), chosen[name])
                if name in chosen
                else _absent(context.tokens(name), 3 * len(rows))
                for name in context.modalities
            }
        )
        logits = dense(2, ("embed", "labels"), name="head", **self.types())(fused.pooled)
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
        examples = jnp.asarray(context.batch.row)
        keys: tuple[Array | None, ...] = (None, None)
        if train or not self.hard_negatives:
            keys = tuple(jax.random.split(self._key(train=train)))
        similarity = jnp.zeros((len(rows), len(rows)), jnp.float32)
        if self.hard_negatives:
            ours, theirs = (
                jax.lax.stop_gradient(context.embed(name)).astype(jnp.float32) for name in (a, b)
            )
            similarity = ours @ theirs.T / self.temperature
        return (
            sample_negatives(similarity, rows, keys[0], rows=examples),
            sample_negatives(similarity.T, rows, keys[1], rows=examples),
        )

    def _key(self, *, train: bool) -> Array:
        """Of this step in training, else always the same."""
        data = jnp.zeros(2, jnp.uint32)
        if train and self.has_rng("mask"):
            data = jax.random.bits(self.make_rng("mask"), (2,), jnp.uint32)
        return jax.random.wrap_key_data(data, impl="threefry2x32")


def _take(tokens: Tokens, chosen: Int[Array, "b k"]) -> Tokens:
    return jax.tree.map(lambda x: x[jnp.maximum(chosen, 0).reshape(-1)], tokens)


def _absent(tokens: Tokens, rows: int) -> Tokens:
    return jax.tree.map(lambda x: jnp.zeros((rows, *x.shape[1:]), x.dtype), tokens)
