"""What a model must offer to be decoded, and how a Linen module does."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
from flax import linen as nn

from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.nn.cache import COLLECTION, take_rows


class Decoder(Protocol):
    """A model, a step at a time; hashable, since it is what programs are compiled for."""

    def __call__(
        self,
        variables: Any,
        tokens: Int[Array, "b n"],
        cache: Any,
        *,
        mask: Bool[Array, "b s"],
        positions: Int[Array, "b n"],
        context: Any,
    ) -> tuple[Float[Array, "b v"], Any]:
        """Logits of what follows the last token, and the cache with these tokens in its next slots.

        The first call has an empty cache (`{}`) and the prompts, which end at the last of their
        slots; each later call has one token a row. `mask` says which of all slots may be looked at,
        `positions` count each row's own tokens from 0. `context` is what the decoder looks at
        besides, a tree of arrays with a row each.
        """
        ...

    def take_rows(self, cache: Any, rows: Int[Array, "b"], *, of_context: bool) -> Any:
        """The cache of other rows. Without `of_context`, rows keep the context that they have."""
        ...

    @property
    def most_positions(self) -> int | None:
        """Prompt and new tokens together; None is any number."""
        ...


@dataclasses.dataclass(frozen=True)
class LinenDecoder:
    """A module with `decode(tokens, context, mask, positions, train=False) -> Decoded`.

    It keeps its cache in the collection of that name (`mmjax.nn.cache`), and says in
    `most_positions` how many tokens it has positions for.
    """

    module: nn.Module

    def __call__(
        self,
        variables: Any,
        tokens: Int[Array, "b n"],
        cache: Any,
        *,
        mask: Bool[Array, "b s"],
        positions: Int[Array, "b n"],
        context: Any,
    ) -> tuple[Float[Array, "b v"], Any]:
        given = {**variables, **({COLLECTION: cache} if cache else {})}
        seen, more = self.shown(context)
        decoded, kept = self.module.apply(
            given,
            tokens,
            seen,
            mask,
            positions,
            train=False,
            method="decode",
            mutable=[COLLECTION],
            **more,
        )
        return decoded.logits[:, -1], kept[COLLECTION]

    def shown(self, context: Any) -> tuple[Any, dict[str, Any]]:
        """What `decode` is given of a context: its own argument for it, and others by name."""
        return context, {}

    def take_rows(self, cache: Any, rows: Int[Array, "b"], *, of_context: bool) -> Any:
        return take_rows(cache, rows, of_context=of_context)

    @property
    def most_positions(self) -> int | None:
        return getattr(self.module, "most_positions", None)


def repeat_rows(tree: Any, times: int) -> Any:
    """Each row of every array `times` times, one behind the other."""
    if times == 1:
        return tree
    return jax.tree.map(lambda one: one.repeat(times, axis=0), tree)
