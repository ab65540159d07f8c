import numpy as np

from cases import Case

RNG = np.random.default_rng(11)
QUEUE = {
    "vectors": {name: RNG.standard_normal((5, 4)).astype(np.float32) for name in ("text", "image")},
    # One entry is an example of the batch; two are not filled yet.
    "row": np.array([90, 21, 91, -1, -1], np.int32),
    "next": np.int32(3),
    "filled": np.int32(3),
}


def reference(scene):
    """ALBEF's loss, row by row, without the row's own example where the queue has it."""
    rows = scene.rows("text", "image")
    queue = scene.collections["queue"]
    scale = np.exp(scene.params["logit_scale"])
    still = np.exp(scene.held.params["logit_scale"])
    total = 0.0
    for name, other in (("text", "image"), ("image", "text")):
        vectors, averaged = scene.embed(name, rows), scene.embed(f"{name}/momentum", rows)
        others = scene.embed(f"{other}/momentum", rows)
        for i, row in enumerate(rows):
            kept = (np.arange(5) < 3) & (queue["row"] != scene.batch.row[row])
            everything = np.concatenate([others, queue["vectors"][other][kept]])
            guess = np.exp(still * everything @ averaged[i])
            targets = 0.3 * guess / guess.sum()
            targets[i] += 0.7
            logits = scale * everything @ vectors[i]
            total -= targets @ (logits - np.log(np.exp(logits).sum()))
    return total / (2 * len(rows))


CASE = Case(reference, {"queue_size": 5, "alpha": 0.3}, collections={"queue": QUEUE})
