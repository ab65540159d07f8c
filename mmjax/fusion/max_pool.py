"""Maximum over the projected modalities."""

from __future__ import annotations

from mmjax.fusion.joint_projection import JointProjection


class MaxPool(JointProjection, kw_only=True):
    """The largest value of each channel among the projected modalities that a row has.

    Each channel takes another modality's, so there are no `modality_weights`.
    """

    pool = "max"
