"""The text that agrees most with the others."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.generate import consensus
from mmjax.metrics.chrf import chrf, pairwise_chrf


def test_pairs_are_judged_as_the_metric_judges_one_row():
    texts = ["red heart", "green heart", "a flag: Togo", ""]
    expected = [[chrf([said], [true]) for true in texts] for said in texts]
    np.testing.assert_allclose(pairwise_chrf(texts), expected)


def test_the_one_in_the_middle_is_taken_unless_another_is_far_likelier():
    texts = ["grinning face", "grinning cat with heart", "flag: Togo", "grinning face with heart"]
    assert texts[consensus(texts, [1, 1, 1, 1])] == "grinning face with heart"
    assert texts[consensus(texts, [1, 1, 9, 1])] == "flag: Togo"


def test_equal_texts_add_up_and_of_equals_it_is_the_first():
    def same(texts):
        return np.eye(len(texts))

    assert consensus(["b", "a", "a"], [1.5, 1, 1], same) == 1
    assert consensus(["a", "b"], [2, 2], same) == 0


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [1.0, -1.0], [1.0, float("nan")]])
def test_weights_that_are_none(weights):
    with pytest.raises(DataError, match="weights"):
        consensus(["a", "b"], weights)
