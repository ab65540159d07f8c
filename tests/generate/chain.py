"""A decoder without layers, and the same in NumPy: logits of the last word, of all words, of the
place."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

V, PLACES = 6, 40
_STATE = np.random.RandomState(3)
TABLES = {
    name: _STATE.standard_normal(size=(count, V)).astype(np.float32)
    for name, count in (("last", V), ("all", V), ("place", PLACES))
}


@dataclasses.dataclass(frozen=True)
class Chain:
    most_positions: int | None = None

    def __call__(self, variables, tokens, cache, *, mask, positions, context):
        valid = mask[:, : tokens.shape[1]] if not cache else jnp.ones(tokens.shape, bool)
        bag = (jax.nn.one_hot(tokens, V) * valid[..., None]).sum(axis=1)
        bag = bag + cache.get("bag", 0)
        logits = variables["last"][tokens[:, -1]] + variables["place"][positions[:, -1]]
        return logits + bag @ variables["all"], {"bag": bag}

    def take_rows(self, cache, rows, *, of_context):
        return {"bag": cache["bag"][rows]}


def logits_of(words: list[int]) -> np.ndarray:
    """Of what follows, in float64."""
    bag = np.bincount(words, minlength=V)
    found = TABLES["last"][words[-1]].astype(float) + TABLES["place"][len(words) - 1]
    return found + bag @ TABLES["all"].astype(float)


def log_probabilities(words: list[int]) -> np.ndarray:
    logits = logits_of(words)
    return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def greedy(words: list[int], count: int) -> list[int]:
    found = list(words)
    for _ in range(count):
        found.append(int(np.argmax(logits_of(found))))
    return found[len(words) :]
