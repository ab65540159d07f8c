import numpy as np
from scipy.special import log_softmax

from cases import Case


def reference(scene):
    """Every token but the first of each row, from the state before it."""
    text, ids = scene.tokens("text"), scene.batch.inputs["text"]["input_ids"]
    logits = text.values @ scene.params["head"]["kernel"]
    found = [
        -log_softmax(logits[row, place - 1])[ids[row, place]]
        for row in scene.rows("text")
        for place in range(1, text.mask[row].sum())
    ]
    return np.mean(found)


CASE = Case(reference, {"tied": False, "modality_facts": {"text": {"vocab_size": 11}}})
