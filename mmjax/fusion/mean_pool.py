"""Mean of the projected modalities."""

from __future__ import annotations

from mmjax.fusion.joint_projection import JointProjection


class MeanPool(JointProjection, kw_only=True):
    """The mean of the projected summaries of the modalities that a row has.

    `modality_weights` are 1 over their number where present.
    """

    pool = "mean"
