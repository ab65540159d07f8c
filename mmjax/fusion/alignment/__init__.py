"""Bringing modalities into one space: heads and losses to train, and transforms in closed form.

`JointSpace`, `deep_cca_loss`, `coral_loss`, `sinkhorn` and `align_tokens` run on the device and are
differentiable; `cca`, `coral_alignment` and `kernel_ridge` solve on the host in float64.
"""

from mmjax.fusion.alignment.cca import CCA, cca
from mmjax.fusion.alignment.coral import coral_alignment, coral_loss
from mmjax.fusion.alignment.deep_cca import deep_cca_loss
from mmjax.fusion.alignment.projection import JointSpace
from mmjax.fusion.alignment.ridge import KernelRidge, gram, kernel_ridge
from mmjax.fusion.alignment.sinkhorn import TokenAlignment, align_tokens, sinkhorn

__all__ = [
    "CCA",
    "JointSpace",
    "KernelRidge",
    "TokenAlignment",
    "align_tokens",
    "cca",
    "coral_alignment",
    "coral_loss",
    "deep_cca_loss",
    "gram",
    "kernel_ridge",
    "sinkhorn",
]
