import losses
import numpy as np

from cases import Case


def reference(scene):
    rows = scene.rows("text", "image")
    scale = np.exp(scene.params["logit_scale"])
    text, image = scene.embed("text", rows), scene.embed("image", rows)
    return losses.clip(text, image, scale, smoothing=0.1)


CASE = Case(reference, {"label_smoothing": 0.1})
