"""A state as named arrays: paths that need no code to be read again, and raw random keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from mmjax.core.errors import CheckpointError
from mmjax.core.typing import ArrayLike

SEPARATOR = "/"


def flatten(tree: Any) -> tuple[dict[str, Any], jax.tree_util.PyTreeDef]:
    """`{"params/encoder/kernel": leaf}` in the tree's order, and its structure.

    Works on any registered node (dictionaries, NamedTuples, flax structs). Raises CheckpointError
    if two leaves would get one name.
    """
    pairs, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves: dict[str, Any] = {}
    dotted: set[str] = set()  # Orbax joins the parts of a name by dots
    for keys, leaf in pairs:
        parts = [jax.tree_util.keystr((key,), simple=True) for key in keys]
        path = SEPARATOR.join(parts)
        if not parts or any(not part or SEPARATOR in part for part in parts):
            raise CheckpointError(
                611,
                f"a leaf of the state cannot be named by {parts}",
                fix=f"the state must be a container whose keys are not empty and hold no "
                f"'{SEPARATOR}'",
            )
        if ".".join(parts) in dotted:
            raise CheckpointError(611, f"two leaves are named '{path}'", fix="rename one")
        dotted.add(".".join(parts))
        leaves[path] = leaf
    if not any(getattr(leaf, "size", 1) for leaf in leaves.values()):
        raise CheckpointError(611, "the state has no arrays", fix="give at least one")
    return leaves, structure


def to_raw(leaves: Mapping[str, Any]) -> tuple[dict[str, ArrayLike], dict[str, str]]:
    """Arrays that can be stored, and the implementation of each typed random key.

    A typed key becomes its uint32 words. Raises CheckpointError on a leaf that is no array.
    """
    raw: dict[str, ArrayLike] = {}
    keys: dict[str, str] = {}
    for path, leaf in leaves.items():
        if isinstance(leaf, jax.Array):
            if is_key(leaf):
                keys[path] = str(jax.random.key_impl(leaf))
                leaf = jax.random.key_data(leaf)
            raw[path] = leaf
        elif isinstance(leaf, (np.ndarray, np.generic)) and np.asarray(leaf).dtype.kind != "O":
            raw[path] = np.asarray(leaf)
        else:
            raise CheckpointError(
                611,
                f"the state's leaf '{path}' is a {type(leaf).__name__}",
                fix="expected a jax.Array or numpy array; put other values into extra",
            )
    return raw, keys


def raw_target(leaf: Any) -> Any:
    """The abstract array under which `leaf` is stored; NumPy leaves stay NumPy arrays.

    Anything with shape and dtype will do; without a sharding, the default device is meant.
    """
    if isinstance(leaf, (np.ndarray, np.generic)):
        return np.asarray(leaf)
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    words = leaf
    if is_key(leaf):
        words = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))
    return jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=sharding)


def is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries of named leaves; inverse of `flatten` for dictionaries."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split(SEPARATOR)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


def below(path: str, prefixes: Iterable[str] | None) -> bool:
    """Whether `path` is, or lies below, one of `prefixes`; None means everything."""
    if prefixes is None:
        return True
    return any(path == one or path.startswith(one + SEPARATOR) for one in prefixes)
