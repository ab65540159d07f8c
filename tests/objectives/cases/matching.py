import numpy as np
import reference as parts

from cases import Case
from mmjax.core.types import Tokens


def reference(scene, seen=lambda fused: fused.pooled):
    """Pairs one by one: the true one, and with the nearest other partner on either side."""
    rows = scene.rows("text", "image")
    similarity = scene.embed("text", rows) @ scene.embed("image", rows).T
    np.fill_diagonal(similarity, -np.inf)
    examples = [(i, i, 1) for i in range(len(rows))]
    examples += [(i, similarity[i].argmax(), 0) for i in range(len(rows))]
    examples += [(similarity[:, i].argmax(), i, 0) for i in range(len(rows))]
    found = []
    for i, j, true in examples:
        pair = {"text": one(scene, "text", rows[i]), "image": one(scene, "image", rows[j])}
        logits = parts.dense(scene.params["head"], seen(scene.fuse(pair)))[0]
        found.append(np.log(np.exp(logits).sum()) - logits[true])
    return np.mean(found)


def one(scene, name, row):
    tokens = scene.tokens(name)
    return Tokens(*(np.asarray(x)[row][None] for x in (tokens.values, tokens.mask, tokens.pooled)))


CASE = Case(reference)
