"""States that the tests of this room save and restore."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import AxisType, NamedSharding, PartitionSpec


class Counters(NamedTuple):
    seen: Any
    skipped: Any


@struct.dataclass
class State:
    step: Any
    params: Any
    opt_state: Any
    key: Any
    counters: Counters


def make_state(seed: int = 0) -> State:
    """Every kind of leaf: float32, bfloat16, int8, bool, scalar, empty, NaN, typed keys, optax."""
    rng = np.random.default_rng(seed)
    params = {
        "dense": {
            "kernel": jnp.asarray(rng.standard_normal((64, 32)), jnp.float32),
            "bias": jnp.asarray([np.nan, -0.0, np.inf] + [1.0] * 29, jnp.float32),
        },
        "half": jnp.asarray(rng.standard_normal((16, 8)), jnp.bfloat16),
        "small": jnp.asarray(rng.integers(-128, 127, (8, 8)), jnp.int8),
        "flags": jnp.asarray(rng.random((8,)) > 0.5),
        "none_of_it": jnp.zeros((0, 4), jnp.float32),
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    trained = {"dense": params["dense"]}
    return State(
        step=jnp.asarray(7, jnp.int32),
        params=params,
        opt_state=optimizer.init(trained),
        key=jax.random.key(seed),
        counters=Counters(jnp.asarray(3, jnp.uint32), jax.random.split(jax.random.key(1), 8)),
    )


def abstract(tree: Any, sharding: Any = None) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=x.sharding if sharding is None else sharding
        ),
        tree,
    )


def words(leaf: Any) -> np.ndarray:
    """The bytes of an array, so that NaN equals NaN and -0.0 is not 0.0."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.ascontiguousarray(np.asarray(leaf)).reshape(-1).view(np.uint8)


def same(a: Any, b: Any) -> bool:
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    return all(
        x.dtype == y.dtype and x.shape == y.shape and np.array_equal(words(x), words(y))
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def mesh(**axes: int) -> jax.sharding.Mesh:
    size = int(np.prod(list(axes.values())))
    return jax.make_mesh(
        tuple(axes.values()),
        tuple(axes),
        axis_types=(AxisType.Auto,) * len(axes),
        devices=jax.devices()[:size],
    )


def on(mesh: jax.sharding.Mesh, *spec: Any) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*spec))
