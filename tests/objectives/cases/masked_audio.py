from cases import Case
from cases.masked_image import SMALL, reconstruction

CASE = Case(
    lambda scene: reconstruction(scene, kept=2, normalise=False),
    {**SMALL, "modality": "image", "mask_ratio": 0.5, "normalise": False},
    lengths={"image/hidden_0.5": 2},
    without_gradient=("key/bias",),
)
