from cases import Case
from cases.masked_image import SMALL, reconstruction

NAME = "image/hidden_0.5_1"
CASE = Case(
    lambda scene: reconstruction(scene, NAME, kept=2, normalise=False),
    {**SMALL, "modality": "image", "mask_ratio": 0.5, "normalise": False},
    lengths={NAME: 2},
    without_gradient=("key/bias",),
)
