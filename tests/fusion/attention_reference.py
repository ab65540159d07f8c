"""Transformers with their attention weights by "queries<-keys", in NumPy float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import reference
from methods import here

EPS = 1e-6

Masks = Mapping[str, np.ndarray]


def norm(p: Any, x: np.ndarray) -> np.ndarray:
    return reference.layer_norm(p, x, EPS)


def attend(p: Any, x: np.ndarray, context: np.ndarray, mask: np.ndarray) -> tuple:
    """What `reference.multi_head` returns, and the weights [b k n m]."""
    query, key, value = (
        np.einsum("bnd,dkh->bnkh", inputs, p[name]["kernel"]) + p[name]["bias"]
        for inputs, name in ((x, "query"), (context, "key"), (context, "value"))
    )
    logits = np.einsum("bnkh,bmkh->bknm", query, key) / np.sqrt(key.shape[-1])
    likely = np.exp(logits - logits.max(axis=-1, keepdims=True)) * mask[:, None, None]
    some = mask.any(axis=1)[:, None, None, None]
    weights = likely / np.where(some, likely.sum(axis=-1, keepdims=True), 1.0)
    heads = np.einsum("bknm,bmkh->bnkh", weights, value)
    out = np.einsum("bnkh,khd->bnd", heads, p["out"]["kernel"]) + p["out"]["bias"]
    return out * mask.any(axis=1)[:, None, None], weights


def cut(weights: np.ndarray, queries: Masks, keys: Masks) -> dict[str, np.ndarray]:
    """[b k n m] by "queries<-keys", 0 for queries that are padding."""
    rows = np.cumsum([one.shape[1] for one in queries.values()])[:-1]
    columns = np.cumsum([one.shape[1] for one in keys.values()])[:-1]
    return {
        f"{asking}<-{asked}": part * queries[asking][:, None, :, None]
        for asking, row in zip(queries, np.split(weights, rows, axis=2), strict=True)
        for asked, part in zip(keys, np.split(row, columns, axis=3), strict=True)
    }


def cross(p: Any, x: np.ndarray, queries: Masks, context: Mapping, gate: Any = 1.0) -> tuple:
    """x + the cross-attention's branch, and its weights; `context` is Tokens by name."""
    values = np.concatenate([one.values for one in context.values()], axis=1)
    mask = np.concatenate([one.mask for one in context.values()], axis=1)
    if "context_norm" in p:
        values = norm(p["context_norm"], values)
    output, weights = attend(p["cross_attention"], norm(p["cross_attention_norm"], x), values, mask)
    return x + gate * output, cut(
        weights, queries, {name: one.mask for name, one in context.items()}
    )


def own(p: Any, x: np.ndarray, groups: Masks) -> tuple:
    """x + the self-attention's branch, and its weights."""
    normed = norm(p["attention_norm"], x)
    mask = np.concatenate(list(groups.values()), axis=1)
    output, weights = attend(p["attention"], normed, normed, mask)
    return x + output, cut(weights, groups, groups)


def mlp(p: Any, x: np.ndarray, gate: Any = 1.0) -> np.ndarray:
    return x + gate * reference.mlp(p["mlp"], norm(p["mlp_norm"], x))


def layers(p: Any) -> list[Any]:
    """The parameters of a stack's blocks, scanned or not."""
    stack = p["stack"]
    if "layers" not in stack:
        return [stack[f"layer_{index}"] for index in range(len(stack))]
    depth = len(jax.tree.leaves(stack)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stack["layers"]) for i in range(depth)]


def stacked(maps: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Weights of single layers as [layers b k n m]; a layer may lack some."""
    names = dict.fromkeys(name for one in maps for name in one)
    return {name: np.stack([one[name] for one in maps if name in one]) for name in names}


def transformer(p: Any, x: np.ndarray, block: Callable[[Any, np.ndarray], tuple]) -> tuple:
    """The values after all blocks and the final norm if there is one, and the weights."""
    maps = []
    for one in layers(p):
        x, weights = block(one, x)
        maps.append(weights)
    return norm(p["norm"], x) if "norm" in p else x, stacked(maps)


def self_transformer(p: Any, x: np.ndarray, groups: Masks) -> tuple:
    def block(p, x):
        x, weights = own(p, x, groups)
        return mlp(p, x), weights

    return transformer(p, x, block)


def join_summaries(p: Any, tokens: Mapping, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """`pooled` from each modality's projected `pooled` and the mean of its values."""
    parts = [
        (tokens[name].pooled + reference.masked_mean(values[name], tokens[name].mask))
        * here(tokens[name])
        for name in sorted(tokens)
    ]
    return reference.dense(p["out"], np.concatenate(parts, axis=1))


def mean_summary(tokens: Mapping) -> np.ndarray:
    count = sum(here(one) for one in tokens.values())
    return sum(one.pooled for one in tokens.values()) / np.maximum(count, 1)


def somewhere(tokens: Mapping, count: int) -> np.ndarray:
    """The mask of learned tokens."""
    found = np.concatenate([here(one) for one in tokens.values()], axis=1).any(axis=1)
    return np.repeat(found[:, None], count, axis=1)
