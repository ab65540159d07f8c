"""From hidden states to a vocabulary: logits, or losses without ever holding all logits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.kernels.matmul import product
from mmjax.nn.dense import ACTIVATIONS, Activation, dense, fan_in, parameter
from mmjax.nn.norms import layer_norm

MOST_LOGITS = 2**27
"""How many logits `LMHead.losses` holds at once, 512 MiB of them in float32.

Making them again for the gradient costs 1.4 to 2 times the time of the head (measured on a CPU).
"""


class LMHead(nn.Module, kw_only=True):
    """Logits of `vocab_size` words, by a table of its own or, tied, by one that it is given.

    With `transform`, BERT's head (Devlin et al. 2019): a dense layer, `activation` and a norm come
    first. The bias is its own either way. A tied table has one row a word, of the width of the
    hidden states, or, with `transform`, of any. Logits are in float32.
    """

    vocab_size: int
    transform: bool = False
    activation: Activation = "gelu"
    eps: float = 1e-12
    use_bias: bool = True
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    def __call__(
        self, values: Float[Array, "*b n d"], table: Float[Array, "v e"] | None = None
    ) -> Float[Array, "*b n v"]:
        """`table` is the embedding of the words, if the head is tied to one."""
        return _logits(*self._parts(values, table))

    def losses(
        self,
        values: Float[Array, "b n d"],
        labels: Int[ArrayLike, "b n"],
        table: Float[Array, "v e"] | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> tuple[Float[Array, "b n"], Bool[Array, "b n"]]:
        """The `cross_entropy` of each label, and whether its logit is the largest.

        Where the logits of all tokens would be more than `MOST_LOGITS`, they are made for some
        places of all rows at a time, and again for the gradient. Labels outside the vocabulary are
        those of tokens that do not count: their losses mean nothing.
        """
        hidden, kernel, bias = self._parts(values, table)
        return token_losses(hidden, kernel, bias, labels, label_smoothing=label_smoothing)

    @nn.compact
    def _parts(self, values: Array, table: Array | None) -> tuple[Array, Array, Array | None]:
        """What the logits are a product of: hidden states, kernel `d v` and bias."""
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        width = values.shape[-1] if table is None else table.shape[1]
        if self.transform:
            values = dense(width, ("embed", "joined"), name="transform", **types)(values)
            values = ACTIVATIONS[self.activation](values)
            values = layer_norm(name="norm", eps=self.eps, **types)(values)
        if table is None:
            kernel = parameter(
                self, "kernel", (width, self.vocab_size), ("embed", "vocab"), init=fan_in, **types
            )
        else:
            kernel = table.astype(self.dtype).T
        bias = None
        if self.use_bias:
            zeros = nn.initializers.zeros
            bias = parameter(self, "bias", (self.vocab_size,), ("vocab",), init=zeros, **types)
        return values.astype(self.dtype), kernel, bias


def cross_entropy(
    logits: Float[Array, "*b v"], labels: Int[Array, "*b"], *, label_smoothing: float = 0.0
) -> Float[Array, "*b"]:
    """The softmax cross-entropy of each label, in float32.

    Smoothing mixes the uniform distribution over the vocabulary into the targets, as torch's
    `cross_entropy` does.
    """
    logits = logits.astype(jnp.float32)
    towards = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    if label_smoothing:
        towards = (1.0 - label_smoothing) * towards + label_smoothing * logits.mean(axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - towards


def token_losses(
    hidden: Float[Array, "b n d"],
    kernel: Float[Array, "d v"],
    bias: Float[Array, "v"] | None,
    labels: Int[ArrayLike, "b n"],
    *,
    label_smoothing: float = 0.0,
    most_logits: int = MOST_LOGITS,
) -> tuple[Float[Array, "b n"], Bool[Array, "b n"]]:
    """The `cross_entropy` of each label and whether it is the likeliest word.

    Worked off in slices along n, so that rows stay on their devices. With ties, the word of the
    lowest id is the likeliest.
    """
    rows, places = labels.shape
    labels = jnp.clip(jnp.asarray(labels), 0, kernel.shape[1] - 1)
    size = max(1, min(places, most_logits // (rows * kernel.shape[1])))
    if size == places:
        return _slice_losses(kernel, bias, label_smoothing, (hidden, labels))
    count = -(-places // size)
    padding = count * size - places

    def sliced(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0), (0, padding), *[(0, 0)] * (x.ndim - 2)])
        return jnp.moveaxis(x.reshape(rows, count, size, *x.shape[2:]), 1, 0)

    one: Callable[..., Any] = jax.checkpoint(
        functools.partial(_slice_losses, kernel, bias, label_smoothing)
    )
    found = jax.lax.map(one, (sliced(hidden), sliced(labels)))
    losses, right = (jnp.moveaxis(x, 0, 1).reshape(rows, -1)[:, :places] for x in found)
    return losses, right


def _slice_losses(
    kernel: Array, bias: Array | None, label_smoothing: float, given: tuple[Array, Array]
) -> tuple[Array, Array]:
    hidden, labels = given
    logits = _logits(hidden, kernel, bias)
    losses = cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return losses, jnp.argmax(logits, axis=-1) == labels


def _logits(hidden: Array, kernel: Array, bias: Array | None) -> Array:
    # One product of two matrices, whose gradients sum in float32 too.
    flat = product("nd,dv->nv", hidden.reshape(-1, hidden.shape[-1]), kernel)
    logits = flat.reshape(*hidden.shape[:-1], -1).astype(jnp.float32)
    return logits if bias is None else logits + bias.astype(jnp.float32)
