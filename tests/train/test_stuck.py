"""A contrastive run that learns nothing is told so, once."""

import logging
import math

import pytest

from mmjax.objectives.results import Results
from mmjax.train.hooks import Log


@pytest.fixture
def hook():
    """What tells, without a run around it."""
    log = object.__new__(Log)
    log._task = Results(("pairs",), ("text", "image"), {"pairs": math.log(256)})
    log._stuck = 0
    return log


def lines_of(hook, caplog, losses):
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="mmjax.train.hooks"):
        for loss in losses:
            hook._tell_if_stuck({"pairs/loss": loss})
    return [record.getMessage() for record in caplog.records]


def test_a_loss_that_stays_at_the_logarithm_of_the_batch_is_told_once(hook, caplog):
    found = lines_of(hook, caplog, [math.log(256)] * 20)
    assert len(found) == 1
    for cause in ("are the pairs right", "learning rate", "do the encoders get gradients"):
        assert cause in found[0]


def test_a_loss_that_moves_is_not(hook, caplog):
    assert not lines_of(hook, caplog, [math.log(256), 5.2] * 10)
    assert not lines_of(hook, caplog, [6.5, 5.0, 3.0, 1.0] * 5)
