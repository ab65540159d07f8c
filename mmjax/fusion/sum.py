"""Sum of the projected modalities."""

from __future__ import annotations

from mmjax.fusion.joint_projection import JointProjection


class Sum(JointProjection, kw_only=True):
    """V_text + V_image + V_audio: the projected summaries of the modalities that a row has.

    `modality_weights` are 1 where present.
    """
