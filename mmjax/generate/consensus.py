"""The text that agrees most with all that a model would say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float
from mmjax.metrics.chrf import pairwise_chrf

Utility = Callable[[Sequence[str]], Float[np.ndarray, "n n"]]
"""What saying each text (rows) is worth where each (columns) is true."""


def consensus(
    texts: Sequence[str], weights: Sequence[float], utility: Utility = pairwise_chrf
) -> int:
    """The place of the text with the greatest expected utility: minimum Bayes risk decoding.

    `weights` are how probable each text is to be true, to any scale: of texts that were drawn, one
    and the same for all, and for those of a beam search, their probabilities. Equal texts add up.
    Of equals, the first. Kumar and Byrne 2004; of draws, Eikema and Aziz 2020. Raises DataError
    for no text, and for weights that are no probabilities.
    """
    shares = np.asarray(weights, np.float64)
    if not texts or len(shares) != len(texts):
        raise DataError(540, f"{len(texts)} texts with {len(shares)} weights", fix="one for each")
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise DataError(540, f"weights {shares.tolist()}", fix="finite ones, 0 or more, some more")
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, place)
    index = {text: at for at, text in enumerate(places)}
    total = np.zeros(len(places))
    np.add.at(total, [index[text] for text in texts], shares)
    worth = utility(list(places)) @ (total / total.sum())
    return list(places.values())[int(worth.argmax())]
