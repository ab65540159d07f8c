"""The recommender's assembly: a tower of users and a tower of items, which meet in a product."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax import encoders, fusion
from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Batch, TaskOutput, Tokens
from mmjax.core.typing import Array, Dtype, Float, Int
from mmjax.encoders import EncoderSpec
from mmjax.encoders.fields import select, taken
from mmjax.fusion import FusionSpec
from mmjax.models.base import Assembly
from mmjax.models.encoding import encode_views, hide
from mmjax.nn.dense import dense, embedding, parameter
from mmjax.tasks.recommendation import Items, Queries, Recommendation

CATALOGUE = "catalogue"
"""The collection of what describes the items: no parameters, but kept with them."""
PREPARED = "prepared"
_AT_ONCE = 4096


class TwoTower(Assembly, kw_only=True):
    """Vectors of users times vectors of items, plus a bias an item.

    The encoders of the model are those of users. `items` are those of the catalogue's modalities
    (`data.targets.item.modalities`). A tower is the sum of its parts' `pooled`: a user's as they
    are, each `width` wide, unless a `fusion` makes one vector of them; an item's by a dense layer
    each, or by `item_fusion`, plus with `item_ids` a vector of its own. An item that no training
    row chose has neither this nor a bias: what describes it must do. `id_dropout` hides the own
    vectors of so many items in a training step, which teaches the rest to stand alone.

    Encoders that take `item_vectors`, such as `item_sequence`, are given the item tower's. Where a
    history or the loss asks for all items, each training step encodes the whole catalogue, else the
    items that it needs. Evaluation encodes it once.
    """

    level: ClassVar[str] = "feature"

    items: Mapping[str, EncoderSpec] = dataclasses.field(default_factory=dict)
    width: int = 64
    fusion: FusionSpec | None = None
    item_fusion: FusionSpec | None = None
    item_ids: bool = True
    item_bias: bool = True
    id_dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def setup(self) -> None:
        if not isinstance(self.task, Recommendation):
            raise ConfigError(
                109,
                f"two_tower ranks items, which is not what {type(self.task).__name__} wants",
                where="task",
                fix="task=recommendation or task=sequential_recommendation",
            )
        if set(self.items) != set(self.task.item_facts) or not (self.items or self.item_ids):
            raise ConfigError(
                109,
                f"encoders of items for {sorted(self.items)}, and the catalogue has "
                f"{sorted(self.task.item_facts)}",
                where="model.fusion.items",
                fix="one for each of the target's modalities, or item_ids=true and none of both",
            )
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.item_encoders = {
            name: encoders.registry.build(spec, facts={**self.task.item_facts[name], **types})
            for name, spec in self.items.items()
        }
        if self.fusion is not None:
            self.user_fusion = fusion.registry.build(self.fusion, facts=types)
            self.user_head = dense(self.width, ("embed", "joined"), name="user_head", **types)
        axes = ("embed", "joined")
        if self.item_fusion is not None and self.items:
            self.items_fusion = fusion.registry.build(self.item_fusion, facts=types)
            self.item_head = dense(self.width, axes, name="item_head", **types)
        else:
            self.item_heads = {
                name: dense(self.width, axes, use_bias=False, name=f"item_{name}", **types)
                for name in sorted(self.items)
            }
        count = self.task.num_items
        if self.item_ids:
            self.ids = embedding(count, self.width, axes=("vocab", "joined"), name="ids", **types)
        if self.item_bias:
            init = nn.initializers.zeros
            self.bias = parameter(self, "bias", (count,), ("vocab",), init=init)
        self.content = {
            name: {
                field: self.variable(CATALOGUE, f"{name}_{field}", jnp.zeros, shape, dtype).value
                for field, (shape, dtype) in fields.items()
            }
            for name, fields in self.task.item_fields.items()
        }

    def item_part(
        self, places: Int[Array, "*s"], *, train: bool
    ) -> tuple[Float[Array, "*s d"], Float[Array, "*s"]]:
        """Vectors and biases of some items."""
        flat = places.reshape(-1)
        counts = jnp.asarray(self.task.item_counts or (1,) * self.task.num_items)
        met = counts[flat] > 0
        vectors = jnp.zeros((len(flat), self.width), jnp.float32)
        if self.items:
            vectors += self._described(flat, train=train).astype(jnp.float32)
        if self.item_ids:
            kept = met
            if train and self.id_dropout:
                key = self.make_rng("dropout")
                kept &= jax.random.bernoulli(key, 1 - self.id_dropout, counts.shape)[flat]
            vectors += jnp.where(kept[:, None], self.ids(flat), 0).astype(jnp.float32)
        bias = jnp.where(met, self.bias[flat], 0.0) if self.item_bias else jnp.zeros(len(flat))
        return vectors.reshape(*places.shape, self.width), bias.reshape(places.shape)

    def _described(self, flat: Int[Array, "r"], *, train: bool) -> Float[Array, "r d"]:
        """What texts, pictures and columns of the items say."""
        tokens = {}
        for name, encoder in self.item_encoders.items():
            fields = {field: array[flat] for field, array in self.content[name].items()}
            here = fields.pop("present").astype(bool)
            chosen = select(encoder, fields, name)
            tokens[name] = hide(encode_views(encoder, chosen, train=train), here)
        if self.item_fusion is not None:
            return self.item_head(self.items_fusion(tokens, train=train).pooled)
        parts = [self.item_heads[name](tokens[name].pooled) for name in sorted(tokens)]
        return functools.reduce(jnp.add, parts)

    def _all_items(self, *, train: bool) -> tuple[Float[Array, "n d"], Float[Array, "n"]]:
        if self.has_variable(PREPARED, "vectors"):
            return self.get_variable(PREPARED, "vectors"), self.get_variable(PREPARED, "bias")
        return self.item_part(jnp.arange(self.task.num_items), train=train)

    def prepare(self, variables: Any) -> dict[str, Any]:
        """What an evaluation makes once: the vectors of all items, some at a time."""
        count = self.task.num_items

        @jax.jit
        def part(variables: Any, places: Array) -> Any:
            return self.apply(variables, places, train=False, method="item_part")

        size = min(count, _AT_ONCE)
        starts = [min(start, count - size) for start in range(0, count, size)]
        found = [part(variables, jnp.arange(size) + start) for start in starts]
        cut = [size * i - start for i, start in enumerate(starts)]
        vectors, bias = (
            jnp.concatenate([one[skip:] for one, skip in zip(side, cut, strict=True)])
            for side in zip(*found, strict=True)
        )
        return {PREPARED: {"vectors": vectors, "bias": bias}}

    def _with_items(self, batch: Batch, vectors: Array) -> Batch:
        """The batch with the item tower's vectors for the encoders that take them."""
        inputs = {
            name: {**fields, "item_vectors": vectors} if name in self._readers() else fields
            for name, fields in batch.inputs.items()
        }
        return dataclasses.replace(batch, inputs=inputs)

    def _readers(self) -> list[str]:
        return [
            name
            for name, encoder in self.encoders.items()
            if "item_vectors" in taken(type(encoder).__call__)
        ]

    def __call__(self, batch: Batch, *, train: bool) -> TaskOutput:
        few = 0
        if train and not self.task.needs_all and not self._readers():
            few = jnp.asarray(batch.row_mask).shape[0] * (1 + self.task.negatives)
        if few and few < self.task.num_items:
            some = functools.partial(self.item_part, train=train)
            items = Items(some, functools.partial(self._all_items, train=train))
        else:
            vectors, bias = self._all_items(train=train)
            items = Items(lambda at: (vectors[at], bias[at]), lambda: (vectors, bias))
            batch = self._with_items(batch, vectors)
        tokens = self.encode(batch, train=train)
        if not train:
            return self.task.rank(self.summary(tokens), *items.all(), batch)
        queries = self._queries(tokens, batch, train=train)
        key = self.make_rng("mask") if self.has_rng("mask") else None
        return self.task.train_output(queries, items, batch, key)

    def _queries(self, tokens: Mapping[str, Tokens], batch: Batch, *, train: bool) -> Queries:
        """Who asks for which item in training."""
        rows = jnp.asarray(batch.row_mask)
        anyone = functools.reduce(jnp.logical_or, (t.mask.any(axis=1) for t in tokens.values()))
        relevant = jnp.asarray(batch.targets[self.task.target])
        if self.task.every_position:
            return self._at_each_position(tokens, batch, relevant[:, 0])
        size, most = relevant.shape
        users = jnp.repeat(self.users(tokens, train=train), most, axis=0)
        owners = jnp.repeat(jnp.arange(size), most)
        weights = (relevant >= 0) & (rows & anyone)[:, None]
        return Queries(users, relevant.reshape(-1), owners, weights.reshape(-1).astype(jnp.float32))

    def _at_each_position(
        self, tokens: Mapping[str, Tokens], batch: Batch, last: Int[Array, "b"]
    ) -> Queries:
        names = self._readers()
        if len(tokens) != 1 or not names or self.fusion is not None:
            raise ConfigError(
                109,
                f"a sequence of items is read by encoders of {sorted(tokens)}",
                where="model.encoders",
                fix="one encoder, of the history, such as item_sequence, and no fusion",
            )
        (name,) = names
        mask = tokens[name].mask
        ids = jnp.asarray(batch.inputs[name]["item_ids"]) - 1
        following = jnp.concatenate([ids[:, 1:], jnp.full_like(ids[:, :1], -1)], axis=1)
        end = jnp.arange(ids.shape[1])[None] == mask.sum(axis=1, keepdims=True) - 1
        following = jnp.where(end, last[:, None], following)
        weights = mask & (following >= 0) & jnp.asarray(batch.row_mask)[:, None]
        owners = jnp.repeat(jnp.arange(ids.shape[0]), ids.shape[1])
        users = tokens[name].values.reshape(-1, tokens[name].values.shape[-1])
        return Queries(
            users, following.reshape(-1), owners, weights.reshape(-1).astype(jnp.float32)
        )

    def answer(self, tokens: Mapping[str, Tokens], batch: Batch, *, train: bool) -> TaskOutput:
        """The ranking for users of these tokens."""
        users = self.users(tokens, train=train)
        return self.task.rank(users, *self._all_items(train=train), batch)

    def summary(self, tokens: Mapping[str, Tokens]) -> Float[Array, "b d"]:
        return self.users(tokens, train=False)

    def users(self, tokens: Mapping[str, Tokens], *, train: bool) -> Float[Array, "b d"]:
        """The vectors of users."""
        if self.fusion is not None:
            return self.user_head(self.user_fusion(dict(tokens), train=train).pooled)
        wrong = {
            n: t.pooled.shape[-1] for n, t in tokens.items() if t.pooled.shape[-1] != self.width
        }
        if wrong:
            name, width = next(iter(wrong.items()))
            raise ConfigError(
                109,
                f"the encoder of '{name}' is {width} wide, the items {self.width}",
                where=f"model.encoders.{name}.width",
                fix=f"model.encoders.{name}.width={self.width}, or a model.fusion.fusion",
            )
        return functools.reduce(jnp.add, (one.pooled for one in tokens.values()))

    def embed(self, batch: Batch) -> dict[str, Float[Array, "b d"]]:
        if self._readers():
            batch = self._with_items(batch, self._all_items(train=False)[0])
        return super().embed(batch)
