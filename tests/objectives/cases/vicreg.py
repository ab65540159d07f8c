import numpy as np
import reference as parts

from cases import Case


def vicreg(a, b, invariance, variance, covariance):
    """The three terms with the divisors of the released code, by NumPy's own moments."""
    width = a.shape[1]
    loss = invariance * np.mean((a - b) ** 2)
    for one in (a, b):
        loss += variance * np.mean(np.maximum(0, 1 - np.sqrt(one.var(axis=0, ddof=1) + 1e-4))) / 2
        moments = np.cov(one, rowvar=False)
        loss += covariance * (moments[~np.eye(width, dtype=bool)] ** 2).sum() / width
    return loss


def reference(scene):
    rows = scene.rows("text", "image")

    def expanded(name):
        p, values = scene.params, scene.tokens(name).pooled[rows]
        values = parts.dense(p[f"{name}_expander_0"], values)
        values = np.maximum(parts.layer_norm(p[f"{name}_norm_0"], values, 1e-6), 0)
        return parts.dense(p[f"{name}_expander_1"], values)

    return vicreg(expanded("text"), expanded("image"), 3.0, 5.0, 2.0)


CASE = Case(
    reference, {"width": 4, "depth": 2, "invariance": 3.0, "variance": 5.0, "covariance": 2.0}
)
