import math

import numpy as np
import pytest

from mmjax import metrics
from mmjax.core.errors import DataError


def test_unigram_by_hand():
    """Three ids, seen 6, 2 and 0 times, so 7/11, 3/11 and 1/11 with one added."""
    found = metrics.unigram(np.array([6, 2, 0]), np.array([1, 2.5, 0.5]))
    loss = -(math.log(7 / 11) + 2.5 * math.log(3 / 11) + 0.5 * math.log(1 / 11)) / 4
    assert found == pytest.approx({"perplexity": math.exp(loss), "accuracy": 0.25, "tokens": 4})


def test_of_its_own_counts_it_is_the_entropy():
    counts = np.random.default_rng(0).integers(1, 50, 30)
    shares = counts / counts.sum()
    found = metrics.unigram(counts, counts, smoothing=0.0)
    assert found["perplexity"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert found["accuracy"] == pytest.approx(shares.max())


def test_never_seen_without_smoothing():
    found = metrics.unigram(np.array([1, 0]), np.array([0, 1]), smoothing=0.0)
    assert found["perplexity"] == math.inf


@pytest.mark.parametrize("guessed", [[1, 2], [0, 0, 0], [1, -1, 0]])
def test_counts_that_mean_nothing(guessed):
    with pytest.raises(DataError, match="MMX-501"):
        metrics.unigram(np.ones(3), np.array(guessed))
