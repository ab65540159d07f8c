from cases import Case
from cases.masked_image import SMALL, reconstruction

CASE = Case(
    lambda scene: reconstruction(scene, kept=1, normalise=True),
    {**SMALL, "modality": "image", "mask_ratio": 0.75},
    lengths={"image/hidden_0.75": 1},
    without_gradient=("key/bias",),
)
