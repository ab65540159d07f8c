"""Attention by the tokamax library: Mosaic and Triton kernels for the accelerator in this machine.

tokamax (Apache-2.0, https://github.com/openxla/tokamax) asks which device the process has, not
which platform the program is lowered for, so that it is used by name alone and never chosen. Its
splash attention on TPU takes neither a bias nor a mask that differs between rows; its kernels for
GPU do. What none of them takes, it computes by XLA.
"""

from __future__ import annotations

import jax.numpy as jnp

from mmjax.core.extras import require
from mmjax.core.typing import Array
from mmjax.kernels.attention_problem import Operands, Problem
from mmjax.kernels.attention_xla import joined


def serves(problem: Problem) -> bool:
    return not problem.weights and problem.dropout_rate == 0.0


def attend(operands: Operands, problem: Problem) -> tuple[Array, None]:
    """The segments behind each other. Raises MissingExtra without the package."""
    tokamax = require("tokamax", "kernels")
    from absl import flags

    if not flags.FLAGS.is_parsed():  # else it takes this program's arguments for its own
        flags.FLAGS.mark_as_parsed()
    keys, values, mask = joined(operands)
    output = tokamax.dot_product_attention(
        operands.queries, keys, values, operands.bias, mask, scale=problem.scale
    )
    if mask is not None:
        found = jnp.swapaxes(mask.any(axis=-1), 1, 2)[..., None]
        output = jnp.where(found, output, 0)
    return output, None
