"""What guessing tokens by their frequency gets right: the baseline of a language model."""

from __future__ import annotations

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float


def unigram(
    seen: Float[np.ndarray, "v"], guessed: Float[np.ndarray, "v"], *, smoothing: float = 1.0
) -> dict[str, float]:
    """A model that knows how often each token is, and nothing else, in float64.

    `seen` counts each id in the training rows, `guessed` in what is to be guessed; both may be
    fractions. `smoothing` is added to every count (Laplace).
    - `perplexity`: exp of the mean cross-entropy, comparable with that of a language model.
    - `accuracy`: the share that the most frequent token is right on; of equals the lower id.
    - `tokens`: how many were guessed.

    Raises DataError for counts of different vocabularies, negative ones and where nothing is
    guessed.
    """
    seen, guessed = np.asarray(seen, np.float64), np.asarray(guessed, np.float64)
    if seen.shape != guessed.shape or (np.minimum(seen, guessed) < 0).any() or not guessed.any():
        raise DataError(
            501,
            f"counts of shapes {seen.shape} and {guessed.shape}",
            fix="count the ids of one vocabulary, in rows that hold tokens",
        )
    chances = (seen + smoothing) / (seen + smoothing).sum()
    with np.errstate(divide="ignore"):
        losses = np.where(guessed > 0, -guessed * np.log(chances), 0.0)
    total = guessed.sum()
    return {
        "perplexity": float(np.exp(losses.sum() / total)),
        "accuracy": float(guessed[np.argmax(seen)] / total),
        "tokens": float(total),
    }
