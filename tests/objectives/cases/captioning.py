import numpy as np
import reference as parts
from scene import VOCABULARY

from cases import Case

DECODER = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 6}
FACTS = {"modality_facts": {"text": {"vocab_size": VOCABULARY, "max_length": 6}}}
EPS = 1e-6


def decoded(p, ids, context):
    """Logits of the word behind each, in one row without padding: word by word.

    `context` [m d] are the valid tokens that the words look at.
    """
    table = p["words"]["embedding"]
    context = parts.layer_norm(p["context_norm"], context, EPS)[None]
    x = (table[ids] + p["positions"][: len(ids)])[None]
    for index in range(DECODER["depth"]):
        x = causal_block(p["transformer"]["stack"][f"layer_{index}"], x, context)
    return parts.layer_norm(p["transformer"]["norm"], x, EPS)[0] @ table.T


def causal_block(p, x, context=None, seen=0):
    """A block of one row; the first `seen` tokens all see each other."""
    normed = parts.layer_norm(p["attention_norm"], x, EPS)
    own = [
        parts.multi_head(
            p["attention"], normed[:, [place]], normed[:, : max(place + 1, seen)], None
        )
        for place in range(x.shape[1])
    ]
    x = x + np.concatenate(own, axis=1)
    if context is not None:
        normed = parts.layer_norm(p["cross_attention_norm"], x, EPS)
        x = x + parts.multi_head(p["cross_attention"], normed, context, None)
    return x + parts.mlp(p["mlp"], parts.layer_norm(p["mlp_norm"], x, EPS))


def cross_entropies(logits, labels, smoothing):
    """Of each place, with the targets written out."""
    targets = smoothing / VOCABULARY + (1 - smoothing) * np.eye(VOCABULARY)[labels]
    guess = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -(targets * np.log(guess)).sum(axis=1)


def reference(scene):
    """Row by row: each word but the first, from those before it and the picture."""
    found = []
    text, image = scene.batch.inputs["text"], scene.tokens("image")
    for row in scene.rows("text", "image"):
        ids = text["input_ids"][row][text["attention_mask"][row] == 1]
        logits = decoded(scene.params["decoder"], ids, image.values[row])
        found.extend(cross_entropies(logits[:-1], ids[1:], 0.1))
    return np.mean(found)


CASE = Case(
    reference,
    {**DECODER, **FACTS, "label_smoothing": 0.1},
    without_gradient=("/key/bias",),
)
