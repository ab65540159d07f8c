from cases import Case
from cases.masked_image import NAME, SMALL, reconstruction

CASE = Case(
    lambda scene: reconstruction(scene, NAME, kept=1, normalise=True),
    {**SMALL, "modality": "image", "mask_ratio": 0.75},
    lengths={NAME: 1},
    without_gradient=("key/bias",),
)
