"""A tiny batch with every way of missing something, and a context made of it, twice.

`make_context` is what an objective is called with, with a fixed joint space and fusion instead of a
model's; a `Scene` is the same in float64, for references.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import losses
import numpy as np

from mmjax.core.types import Batch, Fused, Tokens
from mmjax.objectives.base import Context, Encoded, Objective

ROWS = 8
SIZES = {"text": (5, 6), "image": (4, 7)}
"""Tokens and width of each modality, in config order."""
JOINT, FUSED = 4, 3
VOCABULARY = 11
PADDING_ROW = 7
"""Of no example at all."""
ABSENT = {"text": 5, "image": 2}
"""The row that lacks the modality."""

_RNG = np.random.default_rng(7)
JOINING = {name: _RNG.standard_normal((width, JOINT)) for name, (_, width) in SIZES.items()}
FUSING = {name: _RNG.standard_normal((width, FUSED)) for name, (_, width) in SIZES.items()}


def make_batch() -> Batch:
    """Texts of 2 to 5 tokens with their ids, pictures of 4 patches of 4 x 4, a label a row."""
    rng = np.random.default_rng(1)
    row_mask = np.arange(ROWS) != PADDING_ROW
    lengths = np.array([5, 3, 4, 2, 5, 5, 3, 5])
    attention_mask = np.arange(5) < lengths[:, None]
    present = {name: row_mask & (np.arange(ROWS) != row) for name, row in ABSENT.items()}
    attention_mask &= present["text"][:, None]
    ids = rng.integers(3, VOCABULARY, (ROWS, 5)) * attention_mask
    pixels = rng.uniform(size=(ROWS, 8, 8, 3)) * present["image"][:, None, None, None]
    return Batch(
        inputs={
            "text": {
                "input_ids": ids.astype(np.int32),
                "attention_mask": attention_mask.astype(np.int32),
            },
            "image": {"pixel_values": pixels.astype(np.float32)},
        },
        present=present,
        targets={"label": np.array([0, 1, 0, 2, 1, 0, 3, 0], np.int32)},
        row_mask=row_mask,
        row=np.where(row_mask, np.arange(ROWS) + 20, -1).astype(np.int32),
    )


def make_hidden_batch() -> Batch:
    """The same, with other contents wherever nothing counts."""
    batch = make_batch()
    text, image = batch.inputs["text"], batch.inputs["image"]
    padding = ~np.asarray(text["attention_mask"], bool)
    gone = ~np.asarray(batch.present["image"])
    ids = np.where(padding, 5, text["input_ids"]).astype(np.int32)
    pixels = np.where(gone[:, None, None, None], 0.5, image["pixel_values"]).astype(np.float32)
    labels = np.where(batch.row_mask, batch.targets["label"], 2).astype(np.int32)
    return batch.replace(
        inputs={"text": {**text, "input_ids": ids}, "image": {"pixel_values": pixels}},
        targets={"label": labels},
    )


def make_encoded(
    objective: Objective, batch: Batch, lengths: Mapping[str, int], *, hidden: float = 0.0
) -> dict[str, Encoded]:
    """Random tokens of each modality and each request, with the labels that its `corrupt` makes.

    Padding and absent rows hold `hidden`.
    """
    rng = np.random.default_rng(2)
    masks = {
        "text": np.asarray(batch.inputs["text"]["attention_mask"], bool),
        "image": np.ones((ROWS, SIZES["image"][0]), bool),
    }
    keys = jax.random.split(jax.random.key(3, impl="threefry2x32"), ROWS)
    requests = objective.requests()
    found = {}
    for name in [*SIZES, *requests]:
        modality = requests[name].modality if name in requests else name
        length, width = lengths.get(name, SIZES[modality][0]), SIZES[modality][1]
        present = np.asarray(batch.present[modality])[:, None]
        mask = np.ones((ROWS, length), bool)
        if length == SIZES[modality][0]:
            mask = masks[modality]
        mask = mask & present
        values = rng.standard_normal((ROWS, length, width))
        tokens = Tokens(
            np.where(mask[..., None], values, hidden).astype(np.float32),
            mask,
            (rng.standard_normal((ROWS, width)) * present).astype(np.float32),
        )
        labels: Mapping[str, Any] = {}
        if name in requests and requests[name].corrupt is not None:
            _, labels = requests[name].corrupt(batch.inputs[modality], keys)
        found[name] = Encoded(tokens, jax.tree.map(np.asarray, dict(labels)))
    return found


def fuse(tokens: Mapping[str, Tokens], xp: Any) -> Fused:
    """A fusion in which every modality turns the others' tokens: tanh of sums, and a product."""
    names = [name for name in SIZES if name in tokens]
    here = {name: tokens[name].mask.any(axis=1)[:, None] for name in names}
    summaries = {name: here[name] * (tokens[name].pooled @ FUSING[name]) for name in names}
    total = sum(summaries.values())
    values, spans, start, product = [], {}, 0, 1.0
    for name in names:
        one = tokens[name]
        own = xp.tanh(one.values @ FUSING[name] + total[:, None]) * one.mask[..., None]
        product = product * (1.0 + summaries[name] + own.sum(axis=1))
        values.append(own)
        spans[name] = (start, start + own.shape[1])
        start += own.shape[1]
    masks = [tokens[name].mask for name in names]
    pooled = xp.tanh(total + product)
    return Fused(xp.concatenate(values, axis=1), xp.concatenate(masks, axis=1), pooled, spans)


def make_context(batch: Batch, encoded: Mapping[str, Encoded]) -> Context:
    """What an objective is called with."""
    encoded = jax.tree.map(jnp.asarray, dict(encoded))

    def embed(name: str) -> jax.Array:
        tokens = encoded[name].tokens
        here = tokens.mask.any(axis=1, keepdims=True)
        joined = tokens.pooled.astype(jnp.float32) @ JOINING[name.partition("/")[0]]
        square = jnp.sum(jnp.where(here, joined, 1.0) ** 2, axis=1, keepdims=True)
        return jnp.where(here, joined * jax.lax.rsqrt(square), 0.0)

    return Context(batch, encoded, embed, lambda tokens: fuse(tokens, jnp), tuple(SIZES))


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a reference is given: `Context` in NumPy float64, with the parameters and state."""

    params: Any
    batch: Batch
    encoded: Mapping[str, Encoded]
    collections: Mapping[str, Any]
    held: Scene | None = None
    """The same before anything was moved for a slope: for what no gradient flows through."""

    def tokens(self, name: str) -> Tokens:
        return self.encoded[name].tokens

    def labels(self, name: str) -> Mapping[str, np.ndarray]:
        return self.encoded[name].labels

    def rows(self, *names: str) -> np.ndarray:
        """Indices of the rows that count and have all of these."""
        found = np.asarray(self.batch.row_mask)
        for name in names:
            found = found & self.tokens(name).mask.any(axis=1)
        return np.flatnonzero(found)

    def embed(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Of these rows, which have it."""
        return losses.unit(self.tokens(name).pooled[rows] @ JOINING[name.partition("/")[0]])

    def fuse(self, tokens: Mapping[str, Tokens]) -> Fused:
        return fuse(tokens, np)
