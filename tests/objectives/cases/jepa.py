import numpy as np

from cases import Case
from cases.masked_image import SMALL, guesses

NAME = "image/hidden_0.5_2"


def reference(scene):
    """I-JEPA's smooth L1 distance to the normalised tokens of the averaged encoder."""
    found = []
    for row, place, guess in guesses(scene, NAME, 2):
        target = scene.tokens("image/momentum").values[row, place]
        target = (target - target.mean()) / np.sqrt(target.var() + 1e-5)
        distance = np.abs(guess - target)
        found.append(np.mean([x**2 / 2 if x < 1 else x - 0.5 for x in distance]))
    return np.mean(found)


CASE = Case(
    reference,
    {**SMALL, "mask_ratio": 0.5, "region": 2},
    lengths={NAME: 2},
    without_gradient=("key/bias",),
)
