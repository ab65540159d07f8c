import numpy as np
import reference as parts

from cases import Case
from cases.captioning import DECODER, EPS, FACTS, causal_block, cross_entropies


def decoded(p, ids, prefix, given=0):
    """Logits of the word behind each, in one row without padding; the first `given` are prefix."""
    table = p["words"]["embedding"]
    words = table[ids] + p["positions"][: len(ids)]
    x = np.concatenate([parts.dense(p["prefix"], prefix), words])[None]
    for index in range(DECODER["depth"]):
        x = causal_block(p["transformer"]["stack"][f"layer_{index}"], x, seen=len(prefix) + given)
    return parts.layer_norm(p["transformer"]["norm"], x, EPS)[0, len(prefix) :] @ table.T


def reference(scene):
    """Row by row: each word but the first, behind the picture's tokens."""
    found = []
    text, image = scene.batch.inputs["text"], scene.tokens("image")
    for row in scene.rows("text", "image"):
        ids = text["input_ids"][row][text["attention_mask"][row] == 1]
        logits = decoded(scene.params["decoder"], ids, image.values[row])
        found.extend(cross_entropies(logits[:-1], ids[1:], 0.0))
    return np.mean(found)


CASE = Case(reference, {**DECODER, **FACTS}, without_gradient=("/key/bias",))
