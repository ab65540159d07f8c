import losses
import numpy as np

from cases import Case


def reference(scene):
    rows = scene.rows("text", "image")
    scale = np.exp(scene.params["logit_scale"])
    text, image = scene.embed("text", rows), scene.embed("image", rows)
    return losses.siglip(text, image, scale, scene.params["logit_bias"])


CASE = Case(reference)
