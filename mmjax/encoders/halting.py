"""Encoders that halt between their blocks, so that others may have a say in their tokens.

Any encoder will do whose tokens go through one `nn.stack.Stack`: the stack is taken out by
interception, applied in parts, and put back with its result. The encoder itself knows nothing of
it, and its parameters have the names that they always have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import einops
from flax import linen as nn

from mmjax.core.types import Tokens
from mmjax.core.typing import Array, Bool, Float
from mmjax.nn.stack import Stack


class Halted:
    """An encoder between two of its blocks."""

    def __init__(
        self,
        encode: Callable[[], Tokens],
        stack: Stack,
        args: tuple,
        kwargs: dict,
        mask: Bool[Array, "b n"],
    ):
        self.stack = stack
        self.mask = mask
        """The valid tokens."""
        self._done = 0
        self._encode = encode
        self._values, *self._context = args
        self._options = kwargs

    @property
    def values(self) -> Float[Array, "b n d"]:
        """The tokens as they are now; several pictures of one row behind each other."""
        return einops.rearrange(self._values, "(b v) n d -> b (v n) d", b=len(self.mask))

    @values.setter
    def values(self, values: Float[Array, "b n d"]) -> None:
        views = len(self._values) // len(self.mask)
        self._values = einops.rearrange(values, "b (v n) d -> (b v) n d", v=views)

    def advance(self, blocks: int) -> None:
        """Applies the blocks up to the number `blocks`."""
        if blocks > self._done:
            self._values = self.stack(
                self._values, *self._context, **self._options, start=self._done, stop=blocks
            )
        self._done = blocks

    def finish(self) -> Tokens:
        """What the encoder makes of the tokens as they are now, behind its blocks."""
        return _run(self._encode, [], self._values)


def halt(encode: Callable[[], Tokens]) -> Halted | None:
    """The encoder before its first block; None if it has no blocks, or not all its tokens in them.

    `encode` calls it within the module that holds it, and may be called several times.
    """
    calls: list[tuple[Stack, tuple, dict]] = []
    tokens = _run(encode, calls)
    if len(calls) != 1:
        return None
    stack, args, kwargs = calls[0]
    if len(args[0].shape) != 3 or not _same_tokens(args[0].shape, tokens.mask.shape):
        return None
    return Halted(encode, stack, args, kwargs, tokens.mask)


def _same_tokens(inside: Sequence[int], outside: Sequence[int]) -> bool:
    """Whether [b v, n] tokens in the blocks are the [b, v n] that the encoder returns."""
    views, rest = divmod(inside[0], outside[0])
    return not rest and views * inside[1] == outside[1]


def _run(encode: Callable[[], Tokens], calls: list, result: Any = None) -> Tokens:
    """Calls the encoder with every outermost stack left out; notes each, and what it was given.

    A stack's result is `result`, or else what it was given.
    """

    def leave_out(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
        if isinstance(context.module, Stack) and context.method_name == "__call__":
            calls.append((context.module, args, kwargs))
            return args[0] if result is None else result
        return call(*args, **kwargs)

    with nn.intercept_methods(leave_out):
        return encode()
