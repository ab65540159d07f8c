"""The models' parts in NumPy float64, written from their papers, and random parameters for them.

Parameters are the nested dictionaries that the modules hold, with every leaf random: zeros and
ones of an initialiser would hide a bias or a scale that is not used.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from mmjax.parallel.sharding import unbox

_erf = np.vectorize(math.erf, otypes=[np.float64])


def shapes(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The variables of `module` as shapes; nothing is computed."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return unbox(jax.eval_shape(lambda: module.init(keys, *args, **kwargs)))


def random_like(tree: Any, seed: int = 0, scale: float = 0.4) -> Any:
    """A tree of these shapes with standard normal values times `scale`; variances above zero."""
    rng = np.random.default_rng(seed)

    def one(path: Any, leaf: Any) -> np.ndarray:
        values = (rng.standard_normal(leaf.shape) * scale).astype(leaf.dtype)
        return 0.1 + abs(values) if path and getattr(path[-1], "key", None) == "var" else values

    return jax.tree_util.tree_map_with_path(one, tree)


def random_variables(module: nn.Module, *args: Any, seed: int = 0, **kwargs: Any) -> Any:
    """Random variables for `module.apply(variables, *args, **kwargs)`."""
    return random_like(shapes(module, *args, **kwargs), seed)


def count(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def double(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def gradient(function: Any, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of a function of an array, in float64."""
    x = np.asarray(x, np.float64)
    found = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[at] = step
        found[at] = (function(x + moved) - function(x - moved)) / (2 * step)
    return found


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def layer_norm(p: Any, x: np.ndarray, eps: float) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * p["scale"] + p["bias"]


def group_norm(p: Any, x: np.ndarray, groups: int, eps: float = 1e-6) -> np.ndarray:
    grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    centred = grouped - grouped.mean(axis=(1, 3), keepdims=True)
    variance = (centred**2).mean(axis=(1, 3), keepdims=True)
    return (centred / np.sqrt(variance + eps)).reshape(x.shape) * p["scale"] + p["bias"]


def dense(p: Any, x: np.ndarray) -> np.ndarray:
    return x @ p["kernel"] + p["bias"]


def convolution(x: np.ndarray, kernel: np.ndarray, *, stride: int = 1, pad: int = 0) -> np.ndarray:
    """`b h w c` with a kernel `h w c d`, one output position at a time."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height, width = kernel.shape[:2]
    rows = (x.shape[1] - height) // stride + 1
    columns = (x.shape[2] - width) // stride + 1
    out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + height, j * stride : j * stride + width]
            out[:, i, j] = np.einsum("bhwc,hwcd->bd", window, kernel)
    return out


def attention(
    queries: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    mask: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    scale: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One row at a time; `mask` [b m]. Without a valid key: zeros."""
    b, n, k, h = queries.shape
    m = keys.shape[1]
    scale = 1 / math.sqrt(h) if scale is None else scale
    out, weights = np.zeros((b, n, k, h)), np.zeros((b, k, n, m))
    for row in range(b):
        valid = np.ones(m, bool) if mask is None else mask[row]
        if not valid.any():
            continue
        logits = np.einsum("nkh,mkh->knm", queries[row], keys[row, valid]) * scale
        if bias is not None:
            logits = logits + bias[row][..., valid]
        weights[row][..., valid] = softmax(logits)
        out[row] = np.einsum("knm,mkh->nkh", weights[row], values[row])
    return out, weights


def multi_head(p: Any, x: np.ndarray, context: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The attention layer; a row whose context has no valid token gets 0, bias included."""

    def project(inputs: np.ndarray, name: str) -> np.ndarray:
        return np.einsum("bnd,dkh->bnkh", inputs, p[name]["kernel"]) + p[name]["bias"]

    heads, _ = attention(
        project(x, "query"), project(context, "key"), project(context, "value"), mask
    )
    out = np.einsum("bnkh,khd->bnd", heads, p["out"]["kernel"]) + p["out"]["bias"]
    return out if mask is None else np.where(mask.any(axis=1)[:, None, None], out, 0.0)


def mlp(p: Any, x: np.ndarray, activation=gelu) -> np.ndarray:
    return dense(p["down"], activation(dense(p["up"], x)))


def block(
    p: Any,
    x: np.ndarray,
    mask: np.ndarray | None = None,
    context: np.ndarray | None = None,
    context_mask: np.ndarray | None = None,
    *,
    norm: str,
    eps: float,
) -> np.ndarray:
    """Self-attention, cross-attention, MLP: whichever `p` has parameters for."""
    parts = {
        "attention": lambda p, x: multi_head(p, x, x, mask),
        "cross_attention": lambda p, x: multi_head(p, x, context, context_mask),
        "mlp": mlp,
    }
    for name, part in parts.items():
        if name not in p:
            continue
        if norm == "pre":
            x = x + part(p[name], layer_norm(p[f"{name}_norm"], x, eps))
        else:
            x = layer_norm(p[f"{name}_norm"], x + part(p[name], x), eps)
    return x


def transformer(p: Any, x: np.ndarray, *masks: Any, norm: str, eps: float) -> np.ndarray:
    for index in range(len(p["stack"])):
        x = block(p["stack"][f"layer_{index}"], x, *masks, norm=norm, eps=eps)
    return layer_norm(p["norm"], x, eps) if norm == "pre" else x


def masked_mean(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows = [
        row[kept].mean(axis=0) if kept.any() else 0 * row[0]
        for row, kept in zip(x, mask, strict=True)
    ]
    return np.stack(rows)
