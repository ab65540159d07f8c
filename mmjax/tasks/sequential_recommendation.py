"""Sequential recommendation: each item of a history is what those before it ask for."""

from __future__ import annotations

from typing import ClassVar

from mmjax.tasks.recommendation import Loss, Recommendation


class SequentialRecommendation(Recommendation, kw_only=True):
    """SASRec's task (Kang and McAuley 2018): at each place of a history, the item that follows.

    After the last comes the target. A row is a user with the whole history, of which the encoder
    must be causal and the only one of the user (`item_sequence`). The paper's loss is "pointwise"
    with one negative; "softmax" over the catalogue is better and, where that is small, as cheap
    (Klenitskiy and Vasilev 2023). All else is `Recommendation`'s; evaluation asks at the end of
    the history alone.
    """

    loss: Loss = "softmax"

    every_position: ClassVar[bool] = True
