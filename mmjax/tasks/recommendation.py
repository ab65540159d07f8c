"""Recommendation: which items of a catalogue someone chooses next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Bool, Dtype, Float, Int
from mmjax.metrics.catalogue import CHUNK, catalogue_from_sums, catalogue_sums, rank_catalogue
from mmjax.tasks.answers.items import Items as Named
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.item_losses import bpr, full_softmax, in_batch_softmax, pointwise
from mmjax.tasks.losses import require

Loss = Literal["bpr", "pointwise", "in_batch", "softmax"]


@struct.dataclass
class Queries:
    """Vectors that ask for an item: `users` of batch row `rows`, for the item `items`.

    Where `weights` is 0, there is no item to ask for.
    """

    users: Float[Array, "r d"]
    items: Int[Array, "r"]
    rows: Int[Array, "r"]
    weights: Float[Array, "r"]


@dataclasses.dataclass(frozen=True)
class Items:
    """The catalogue as a model has it: vectors and biases of some items, or of all."""

    of: Callable[[Int[Array, "*s"]], tuple[Float[Array, "*s d"], Float[Array, "*s"]]]
    all: Callable[[], tuple[Float[Array, "n d"], Float[Array, "n"]]]


def _given() -> Any:
    return dataclasses.field(default_factory=dict, metadata={"fact": True})


class Recommendation(Task, kw_only=True):
    """The items of a catalogue, ranked by the product of a user's vector with theirs.

    `loss` is that of training, the mean over the items that were chosen:
    - "bpr", pairwise, and "pointwise", binary cross-entropy, against `negatives` items each, drawn
      evenly from the catalogue; one that the row has seen, or that it asks for, does not count;
    - "in_batch", a softmax over the items of the batch, corrected by `log_q` of how often the
      training rows choose each. With gradients in several parts, those of a part;
    - "softmax" over the whole catalogue.

    In evaluation the loss is the cross-entropy of the relevant items among all that were not seen.
    Every row is ranked against the whole catalogue; what it has seen, by the history `seen`, is
    left out unless `filter_seen` is False. Metrics are those of `metrics.catalogue_from_sums`, at
    the cuts `ks`. Predictions are `items` and `scores` `[b top]`. Wants the assembly `two_tower`.
    """

    target: str = "item"
    loss: Loss = "bpr"
    negatives: int = 1
    log_q: bool = True
    ks: tuple[int, ...] = (1, 5, 10, 20)
    top: int = 10
    seen: str = "history"
    """The modality of kind `items` that holds what a row has seen; empty for none."""
    filter_seen: bool = True
    chunk: int = CHUNK
    """Items whose scores exist at a time in evaluation."""
    num_items: int = fact()
    item_names: tuple[str, ...] = fact(())
    item_counts: tuple[int, ...] = fact(())
    item_facts: Mapping[str, Any] = _given()
    item_fields: Mapping[str, Any] = _given()
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    headline: ClassVar[tuple[str, ...]] = ("ndcg@10", "hit_rate@10", "mrr")
    every_position: ClassVar[bool] = False
    """Whether each item of a history is asked for, by those before it."""

    def head_outputs(self, fused: Fused, *, train: bool) -> Array:
        raise ConfigError(
            109,
            "to recommend takes vectors of users and of items, not one vector of both",
            where="model.fusion",
            fix="model.fusion=two_tower",
        )

    @property
    def compares_rows(self) -> bool:
        return self.loss == "in_batch"

    @property
    def needs_all(self) -> bool:
        """Whether the training loss asks for the vectors of all items."""
        return self.loss == "softmax"

    def seen_items(self, batch: Batch) -> Bool[Array, "b n"] | None:
        """What each row has seen of the catalogue."""
        if not self.seen:
            return None
        fields = batch.inputs.get(self.seen, {})
        if "seen" not in fields:
            raise ConfigError(
                109,
                f"'{self.seen}' is no modality of kind items, which says what was seen",
                where="task.seen",
                fix="name the history, or task.seen='' for none",
            )
        bits = jnp.unpackbits(jnp.asarray(fields["seen"]), axis=1)
        return bits[:, : self.num_items].astype(bool)

    def train_output(
        self, queries: Queries, items: Items, batch: Batch, key: Array | None
    ) -> TaskOutput:
        """The loss of a training batch; `key` draws the negatives."""
        weight = queries.weights.sum()
        chosen = jnp.maximum(queries.items, 0)
        seen = self.seen_items(batch)
        users = queries.users.astype(jnp.float32)
        losses = self._losses(users, chosen, queries, items, seen, key)
        total = jnp.sum(jnp.where(queries.weights > 0, losses * queries.weights, 0.0))
        return TaskOutput(total / jnp.maximum(weight, 1e-9), weight, {}, {})

    def _losses(
        self,
        users: Float[Array, "r d"],
        chosen: Int[Array, "r"],
        queries: Queries,
        items: Items,
        seen: Bool[Array, "b n"] | None,
        key: Array | None,
    ) -> Float[Array, "r"]:
        if self.loss == "softmax":
            vectors, bias = items.all()
            return full_softmax(users @ vectors.T.astype(jnp.float32) + bias, chosen)
        if self.loss == "in_batch":
            vectors, bias = items.of(chosen)
            logits = users @ vectors.T.astype(jnp.float32) + bias
            log_q = jnp.asarray(self._log_q(), jnp.float32)[chosen]
            known = None if seen is None else seen[queries.rows][:, chosen]
            return in_batch_softmax(logits, chosen, log_q, queries.weights > 0, known)
        require("negatives", self.negatives >= 1, self.negatives, "1 or more")
        drawn = jnp.zeros((len(chosen), self.negatives), jnp.int32)
        if key is not None:
            drawn = jax.random.randint(key, drawn.shape, 0, self.num_items)
        valid = drawn != chosen[:, None]
        if seen is not None:
            valid &= ~seen[queries.rows[:, None], drawn]
        vectors, bias = items.of(jnp.concatenate([chosen[:, None], drawn], axis=1))
        scores = jnp.einsum("rd,rkd->rk", users, vectors.astype(jnp.float32)) + bias
        loss = bpr if self.loss == "bpr" else pointwise
        return loss(scores[:, 0], scores[:, 1:], valid)

    def _log_q(self) -> np.ndarray:
        counts = np.maximum(np.asarray(self.item_counts or (1,) * self.num_items, np.float64), 1.0)
        return np.log(counts / counts.sum()) if self.log_q else np.zeros(self.num_items)

    def rank(
        self, users: Float[Array, "b d"], vectors: Array, bias: Array, batch: Batch
    ) -> TaskOutput:
        """Ranks of an evaluation batch; without a target in it, predictions only."""
        known = self.target in batch.targets
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        relevant = jnp.full((len(rows), 1), -1, jnp.int32)
        if known:
            relevant = jnp.asarray(batch.targets[self.target])
        seen = self.seen_items(batch) if self.filter_seen else None
        found = rank_catalogue(users, vectors, bias, relevant, seen, top=self.top, chunk=self.chunk)
        predictions = {"items": found.items, "scores": found.scores}
        if not known:
            return unlabelled(predictions)
        here = (found.ranks > 0) & (rows > 0)[:, None]
        places = jnp.maximum(relevant, 0)
        own = jnp.einsum("bd,bmd->bm", users.astype(jnp.float32), vectors[places])
        losses = found.log_normalizer[:, None] - own - bias[places]
        weight = here.sum().astype(jnp.float32)
        loss = jnp.sum(jnp.where(here, losses, 0.0)) / jnp.maximum(weight, 1.0)
        sums = catalogue_sums(found, rows, ks=self.ks)
        return TaskOutput(loss, weight, sums, {**predictions, "ranks": found.ranks})

    def output(self, outputs: Any, batch: Batch) -> TaskOutput:
        """Of `(users, vectors, bias)`, as `rank`."""
        users, vectors, bias = outputs
        return self.rank(users, vectors, bias, batch)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """The means of the sums over all rows; training has none."""
        return catalogue_from_sums(sums) if sums else {}

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """The share of the catalogue that is in anyone's first `top` items (`coverage@<top>`)."""
        shown = predictions["items"][np.isfinite(predictions["scores"])]
        return {f"coverage@{self.top}": len(np.unique(shown)) / self.num_items}

    def answers(self) -> Named:
        return Named(self.item_names or tuple(map(str, range(self.num_items))))
