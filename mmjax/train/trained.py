"""The parameters that a step trains, apart from those that stay as they are."""

from __future__ import annotations

from typing import Any

import jax


def trained(tree: Any, frozen: Any) -> Any:
    """The tree with None, which has no leaves, in place of what is frozen.

    `frozen` is a tree of bools of the same structure; with None, all is trained.
    """
    if frozen is None:
        return tree
    return jax.tree.map(lambda still, leaf: None if still else leaf, frozen, tree)


def whole(part: Any, tree: Any) -> Any:
    """`part`, as `trained` made it, with the leaves of `tree` where it has None."""
    return jax.tree.map(lambda leaf, own: leaf if own is None else own, tree, part)
