import numpy as np
import reference as parts
from scipy.special import log_softmax, ndtr

from cases import Case

FACTS = {"text": {"vocab_size": 11, "mask_id": 2, "special_ids": (0, 1, 2)}}


def reference(scene):
    """Hidden token by hidden token, through the fusion with the picture and BERT's head."""
    labels = scene.labels("text/masked_lm_0.4_tokens")
    fused = scene.fuse(
        {"text": scene.tokens("text/masked_lm_0.4_tokens"), "image": scene.tokens("image")}
    )
    head, found = scene.params["head"], []
    for row in scene.rows("text/masked_lm_0.4_tokens"):
        for place, true in zip(labels["places"][row], labels["ids"][row], strict=True):
            if true:
                values = parts.dense(head["transform"], fused.values[row, place])
                values = parts.layer_norm(head["norm"], values * ndtr(values), 1e-12)
                found.append(-log_softmax(parts.dense(head, values))[true])
    assert len(found) > 8
    return np.mean(found)


CASE = Case(
    reference,
    {"share": 0.4, "visible": ("image",), "tied": False, "modality_facts": FACTS},
)
