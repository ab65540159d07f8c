"""Recurrent layers over padded sequences."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Bool, Dtype, Float
from mmjax.kernels.platforms import is_default_alone
from mmjax.nn.dense import dense, parameter

Cell = Literal["lstm", "gru"]

GATES: dict[Cell, int] = {"lstm": 4, "gru": 3}
"""Gates of a cell, in the order of torch: input, forget, cell, output; reset, update, new."""

State = tuple[Array, ...]
"""What a cell carries, the hidden state first."""

Gates = tuple[Array, ...]
"""One array a gate."""


class Recurrent(nn.Module, kw_only=True):
    """LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho et al. 2014): one layer, one direction.

    The GRU resets after its matrix product, as cuDNN, torch and Keras have it; the LSTM's forget
    gate starts open (bias 1, Jozefowicz et al. 2015). Positions that `mask` leaves out are passed
    over: the state stays as it is, so with `reverse` a row starts at its own last valid position,
    and a hole in a row is as if it were cut out. Returns the hidden states, 0 at masked positions,
    and the state at the end (at the start with `reverse`).
    """

    hidden: int
    cell: Cell = "lstm"
    reverse: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, values: Float[Array, "b t d"], mask: Bool[Array, "b t"]
    ) -> tuple[Float[Array, "b t h"], Float[Array, "b h"]]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        size = GATES[self.cell] * self.hidden
        gates = dense(size, ("embed", "joined"), use_bias=False, name="input", **types)(values)
        # Whole on every device: it is multiplied at each step of the loop.
        kernel = parameter(
            self, "hidden_kernel", (self.hidden, size), (None, "joined"), init=_orthogonal, **types
        )
        bias = parameter(self, "bias", (size,), ("joined",), init=_forget_open(self.cell), **types)
        gates = jnp.moveaxis(gates + bias, 1, 0)
        hidden_bias = jnp.zeros((size,), self.dtype)
        if self.cell == "gru":
            hidden_bias = jnp.pad(
                parameter(
                    self,
                    "new_bias",
                    (self.hidden,),
                    ("joined",),
                    init=nn.initializers.zeros,
                    **types,
                ),
                (2 * self.hidden, 0),
            )
        states, last = run_cell(
            gates, mask.T, kernel, hidden_bias, cell=self.cell, reverse=self.reverse
        )
        states = jnp.moveaxis(states, 0, 1)
        return jnp.where(mask[..., None], states, 0), last


def run_cell(
    gates: Float[Array, "t b g"],
    mask: Bool[Array, "t b"],
    kernel: Float[Array, "h g"],
    bias: Float[Array, " g"],
    *,
    cell: Cell,
    reverse: bool,
) -> tuple[Float[Array, "t b h"], Float[Array, "b h"]]:
    """The hidden state after each step from `gates`, the input's part of them, and the last one.

    Each gate is a product of its own in the loop: on CPU more than twice as fast as one for all.
    """
    apart, kernels, biases = (
        tuple(jnp.split(whole, GATES[cell], axis=-1)) for whole in (gates, kernel, bias)
    )

    def step(state: State, inputs: tuple[Gates, Array]) -> tuple[State, Array]:
        hidden = state[0].astype(kernel.dtype)
        own = tuple(hidden @ one + more for one, more in zip(kernels, biases, strict=True))
        state = _advance(cell, state, inputs[0], own, inputs[1])
        return state, state[0].astype(gates.dtype)

    zeros = jnp.zeros((gates.shape[1], kernel.shape[0]), jnp.float32)
    start: State = (zeros, zeros) if cell == "lstm" else (zeros,)
    inputs = apart, mask
    # The converter to ONNX knows loops from the first step to the last alone.
    turned = reverse and is_default_alone()
    if turned:
        inputs = jax.tree.map(lambda one: jnp.flip(one, 0), inputs)
    last, states = jax.lax.scan(step, start, inputs, reverse=reverse and not turned)
    return jnp.flip(states, 0) if turned else states, last[0].astype(gates.dtype)


def _advance(cell: Cell, state: State, gates: Gates, own: Gates, valid: Array) -> State:
    """One step: `gates` come from the input, `own` from the hidden state."""
    if cell == "lstm":
        i, f, g, o = (a + b for a, b in zip(gates, own, strict=True))
        memory = nn.sigmoid(f) * state[1] + nn.sigmoid(i) * jnp.tanh(g)
        new: State = (nn.sigmoid(o) * jnp.tanh(memory), memory)
    else:
        reset, update = (nn.sigmoid(gates[k] + own[k]) for k in range(2))
        new = ((1 - update) * jnp.tanh(gates[2] + reset * own[2]) + update * state[0],)
    return tuple(jnp.where(valid[:, None], a, b) for a, b in zip(new, state, strict=True))


def _orthogonal(key: Array, shape: tuple[int, ...], dtype: Dtype) -> Array:
    """An orthogonal matrix a gate (Saxe et al. 2014)."""
    hidden = shape[0]
    keys = jax.random.split(key, shape[1] // hidden)
    make = nn.initializers.orthogonal()
    return jnp.concatenate([make(key, (hidden, hidden), dtype) for key in keys], axis=1)


def _forget_open(cell: Cell):
    def init(key: Array, shape: tuple[int, ...], dtype: Dtype) -> Array:
        bias = jnp.zeros(shape, dtype)
        hidden = shape[0] // GATES[cell]
        return bias.at[hidden : 2 * hidden].set(1) if cell == "lstm" else bias

    return init
