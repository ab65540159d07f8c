import numpy as np

from cases import Case


def triplet(a, b, margin, mining):
    """Triplet by triplet, with distances."""
    total = 0.0
    for anchors, others in ((a, b), (b, a)):
        for i, anchor in enumerate(anchors):
            distances = 1 - others @ anchor
            found = [
                max(0.0, margin + distances[i] - distance)
                for j, distance in enumerate(distances)
                if j != i
            ]
            total += max(found) if mining == "hard" else np.mean(found)
    return total / (2 * len(a))


def reference(scene):
    rows = scene.rows("text", "image")
    return triplet(scene.embed("text", rows), scene.embed("image", rows), 0.3, "hard")


CASE = Case(reference, {"margin": 0.3})
