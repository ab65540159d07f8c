"""Strings that end a text, wherever tokens meet in them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from mmjax.core.typing import Array, ArrayLike, Bool, Int


@struct.dataclass
class Stops:
    """What each token does to how much of a string is there: an automaton over tokens.

    A state is the longest beginning of any string that a text ends with (Aho and Corasick 1975); 0
    is none. `following` is the state behind a token, `found` whether a string ends within it,
    whatever comes behind. `at` is the state of each row behind its prompt.
    """

    following: Int[ArrayLike, "q v"]
    found: Bool[ArrayLike, "q v"]
    at: Int[ArrayLike, "b"]

    def step(
        self, states: Int[Array, "*b"], tokens: Int[Array, "*b"]
    ) -> tuple[Int[Array, "*b"], Bool[Array, "*b"]]:
        """The states behind a token each, and whether a string ends within it."""
        place = (states, tokens)
        return (
            jnp.asarray(self.following).at[place].get(mode="fill", fill_value=0),
            jnp.asarray(self.found).at[place].get(mode="fill", fill_value=False),
        )


def stops_of(
    strings: Sequence[str], texts: Mapping[int, str], prompts: Iterable[Iterable[int]]
) -> Stops:
    """The automaton of strings, given the text of each token, and where prompts leave it.

    A string counts as transformers' `StopStringCriteria` has it: wherever it begins, in a prompt
    too, and if it ends within the newest token. A token without a text ends what was there.
    """
    letters = {letter: i for i, letter in enumerate(sorted(set("".join(strings))))}
    moves, ends = _automaton(strings, letters)
    width = max(texts, default=-1) + 1
    states = np.tile(np.arange(len(moves))[:, None], (1, width))
    found = np.zeros(states.shape, bool)
    ids = np.array(sorted(texts, key=lambda one: -len(texts[one])), np.int64)
    lengths = np.array([len(texts[one]) for one in ids])
    for place in range(lengths.max(initial=0)):
        some = ids[: np.searchsorted(-lengths, -place)]
        codes = [letters.get(texts[one][place], len(letters)) for one in some.tolist()]
        states[:, some] = moves[states[:, some], codes]
        found[:, some] |= ends[states[:, some]]
    states[:, [token for token in range(width) if not texts.get(token)]] = 0
    at = []
    for prompt in prompts:
        state = 0
        for token in prompt:
            state = int(states[state, token]) if token < width else 0
        at.append(state)
    return Stops(states.astype(np.int32), found, np.array(at, np.int32))


def _automaton(strings: Sequence[str], letters: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The state behind each letter in each state, other letters last, and which states are ends."""
    beginnings = ["", *sorted({one[:i] for one in strings for i in range(1, len(one) + 1)})]
    number = {text: i for i, text in enumerate(beginnings)}
    moves = np.zeros((len(beginnings), len(letters) + 1), np.int32)
    for text, row in number.items():
        for letter, column in letters.items():
            longer = text + letter
            moves[row, column] = next(
                number[longer[i:]] for i in range(len(longer) + 1) if longer[i:] in number
            )
    return moves, np.array([text.endswith(tuple(strings)) for text in beginnings])


_BEFORE = "abcdef"


@functools.lru_cache(maxsize=4)
def texts_of(tokenizer: Any) -> Mapping[int, str]:
    """What each token of a Hugging Face tokenizer adds to a text, by its id; as transformers'
    `StopStringCriteria` finds it.
    """
    before = tokenizer.convert_ids_to_tokens(tokenizer(_BEFORE, add_special_tokens=False).input_ids)
    found = {}
    for token, number in tokenizer.get_vocab().items():
        text = tokenizer.convert_tokens_to_string([*before, token])
        found[number] = text[text.index(_BEFORE) + len(_BEFORE) :]
    return found
