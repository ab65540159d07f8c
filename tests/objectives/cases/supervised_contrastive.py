import numpy as np

from cases import Case


def reference(scene):
    """Khosla et al. 2020, equation 2: the views of all rows, anchor by anchor."""
    views = []
    for name in ("text", "image"):
        rows = scene.rows(name)
        views += zip(scene.embed(name, rows), scene.batch.targets["label"][rows], strict=True)
    found = []
    for i, (anchor, label) in enumerate(views):
        others = [view for j, view in enumerate(views) if j != i]
        weights = np.exp([anchor @ vector / 0.2 for vector, _ in others])
        same = np.array([other == label for _, other in others])
        if same.any():
            found.append(-np.log(weights / weights.sum())[same].mean())
    return np.mean(found)


CASE = Case(reference, {"temperature": 0.2})
