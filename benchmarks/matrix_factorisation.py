"""Matrix factorisation as recommenders are compared with: by BPR, and by biases alone.

Written apart from `mmjax`, so that what is compared shares nothing but the data and the metrics.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmjax.data.table import Table
from mmjax.metrics import ranking

NAMES = ("ndcg@10", "hit_rate@10", "mrr")
BATCH = 1024
RATE = 5e-3
EVERY = 3
"""Epochs between two looks at the validation items."""

Params = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Choices:
    """Who chose what: `pairs` [n 2] of places of users and items trains.

    Of each split that is judged, `own` [users items] says what was chosen in it and `seen` what
    before.
    """

    pairs: np.ndarray
    own: Mapping[str, np.ndarray]
    seen: Mapping[str, np.ndarray]

    @property
    def shape(self) -> tuple[int, int]:
        users, items = next(iter(self.own.values())).shape
        return users, items

    def with_split(self, split: str) -> Choices:
        """The same, with what was chosen in `split` as training pairs too."""
        return dataclasses.replace(
            self, pairs=np.concatenate([self.pairs, np.argwhere(self.own[split])])
        )


def choices_of(table: Table, items: Sequence[str]) -> Choices:
    """Of a table with the columns `user`, `item`, `history` and `split`."""
    places = {item: place for place, item in enumerate(items)}
    users = {user: place for place, user in enumerate(dict.fromkeys(table.column("user")))}
    splits = [split for split in dict.fromkeys(table.column("split")) if split != "train"]
    own, seen = (
        {split: np.zeros((len(users), len(items)), bool) for split in splits} for _ in range(2)
    )
    pairs = []
    for row in range(len(table)):
        cells = table.row(row)
        user, item, split = users[cells["user"]], places[cells["item"]], cells["split"]
        if split == "train":
            pairs.append((user, item))
            continue
        own[split][user, item] = True
        seen[split][user, [places[one] for one in cells["history"]]] = True
    return Choices(np.array(pairs), own, seen)


def judged(params: Params, choices: Choices, split: str) -> dict[str, float]:
    """The metrics of `NAMES`: every item that was not seen before is ranked."""
    scores = np.asarray(params["users"] @ params["items"].T + params["bias"])
    found = ranking(scores, choices.own[split], ks=(10,), exclude=choices.seen[split])
    return {name: found[name] for name in NAMES}


def bpr(
    choices: Choices, *, width: int, penalty: float, seed: int, epochs: int, chosen: bool = True
) -> tuple[dict[str, dict[str, float]], int]:
    """BPR-MF (Rendle et al. 2009, section 4.3.1): metrics by split, and the epochs it took.

    A vector a user, a vector and a bias an item; negatives are drawn evenly from what the user has
    not chosen in training. `penalty` is the weight of the squared parameters of each triple. The
    updates are Adam's. With `chosen`, of the epochs up to `epochs` that which validation likes
    best by nDCG@10, else the last.
    """
    users, items = choices.shape
    rng = np.random.default_rng(seed)
    params = {
        "users": jnp.asarray(rng.normal(0, 0.05, (users, width)), jnp.float32),
        "items": jnp.asarray(rng.normal(0, 0.05, (items, width)), jnp.float32),
        "bias": jnp.zeros(items, jnp.float32),
    }
    taken = np.zeros((users, items), bool)
    taken[tuple(choices.pairs.T)] = True
    state = optax.adam(RATE).init(params)
    best: dict[str, dict[str, float]] = {}
    when = 0
    for epoch in range(1, epochs + 1):
        params, state = _epoch(params, state, triples(choices.pairs, taken, rng), penalty)
        if epoch % EVERY == 0 if chosen else epoch == epochs:
            found = {split: judged(params, choices, split) for split in choices.own}
            likes = found.get("validation", {}).get("ndcg@10", 0.0)
            if not best or likes > best["validation"]["ndcg@10"]:
                best, when = found, epoch
    return best, when


def triples(pairs: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[steps batch 3]: the pairs in a new order, each with an item that the user has not taken."""
    order = pairs[rng.permutation(len(pairs))]
    others = rng.integers(0, taken.shape[1], len(order))
    while (wrong := taken[order[:, 0], others]).any():
        others[wrong] = rng.integers(0, taken.shape[1], int(wrong.sum()))
    size = min(BATCH, len(order))
    kept = len(order) // size * size
    return np.column_stack([order, others])[:kept].reshape(-1, size, 3)


def loss(params: Params, batch: jax.Array, penalty: float) -> jax.Array:
    """Mean over triples [b 3] of -log sigmoid(difference of scores), and of the penalty."""
    user, chosen, other = (
        params["users"][batch[:, 0]],
        params["items"][batch[:, 1]],
        params["items"][batch[:, 2]],
    )
    biases = params["bias"][batch[:, 1]] - params["bias"][batch[:, 2]]
    margin = jnp.sum(user * (chosen - other), axis=1) + biases
    squares = jnp.sum(user**2 + chosen**2 + other**2, axis=1)
    return jnp.mean(jax.nn.softplus(-margin) + penalty * squares)


@functools.partial(jax.jit, static_argnames="penalty")
def _epoch(
    params: Params, state: optax.OptState, batches: jax.Array, penalty: float
) -> tuple[Params, optax.OptState]:
    def step(carry: tuple[Params, optax.OptState], batch: jax.Array) -> tuple:
        params, state = carry
        gradient = jax.grad(loss)(params, batch, penalty)
        updates, state = optax.adam(RATE).update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), batches)[0]


def bias_rmse(table: Table, *, shrinkage: float = 5.0) -> dict[str, float]:
    """The root mean squared error of ratings by split, told by mean, item and user biases.

    Each is a mean of what is left by those before it, shrunk towards 0 as if `shrinkage` ratings
    more had been 0 (Koren 2010, section 2.1).
    """
    split = np.array(table.column("split"))
    rating = np.array(table.column("rating"), np.float64)
    train = split == "train"
    rest = rating - rating[train].mean()
    for name in ("item", "user"):
        number = np.unique(table.column(name), return_inverse=True)[1]
        total = np.bincount(number[train], rest[train], minlength=number.max() + 1)
        count = np.bincount(number[train], minlength=number.max() + 1)
        rest = rest - (total / (count + shrinkage))[number]
    return {
        name: float(np.sqrt(np.mean(rest[split == name] ** 2)))
        for name in dict.fromkeys(split.tolist())
        if name != "train"
    }
