"""Attention by the library's own fused kernel over segments."""

from __future__ import annotations

import jax.numpy as jnp

from mmjax.core.typing import Array
from mmjax.kernels.attention_problem import Operands, Problem
from mmjax.kernels.segment_attention import segment_attention

_LOGITS = 256 * 256
"""Of one row and head."""

_LOGITS_OF_CUDNN = 2048 * 2048
"""From so many on, cuDNN gains more than reading a mask for every query costs it."""


def serves(problem: Problem) -> bool:
    """One mask for all queries of a row, and no more than the output asked for."""
    return (
        problem.mask != "full"
        and not problem.bias
        and not problem.weights
        and problem.dropout_rate == 0.0
    )


def pays(problem: Problem) -> bool:
    """Whether the logits are worth a kernel; by reasoning, it has not been measured.

    On TPU the kernel keeps two numbers a query that take 128 lanes each, as much as the logits of
    256 keys; short ones XLA fuses by itself.
    """
    return problem.queries * sum(problem.keys) >= _LOGITS


def beats_cudnn(problem: Problem) -> bool:
    """Whether it is faster on an H100 in bfloat16, which was measured: with padding, if not long.

    It reads one mask for all queries of a row, and leaves out the blocks of keys behind the last.
    """
    logits = problem.queries * sum(problem.keys)
    return problem.mask == "keys" and logits < _LOGITS_OF_CUDNN and serves(problem)


def attend(operands: Operands, problem: Problem) -> tuple[Array, None]:
    """A Pallas kernel on TPU and CUDA; `segment_attention` has the whole story."""
    rows = problem.rows
    masks = [
        None if mask is None else jnp.broadcast_to(mask[:, 0, 0], (rows, mask.shape[-1]))
        for mask in operands.masks
    ]
    output = segment_attention(
        operands.queries, operands.keys, operands.values, masks, scale=problem.scale
    )
    return output, None
