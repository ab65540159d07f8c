import numpy as np
import reference

from methods import Method, here, pooling, projected


def cosine_pool(p, tokens):
    """Row by row, over the vectors that are there."""
    own = projected(p, tokens)
    present = np.concatenate([here(one) for one in tokens.values()], axis=1).astype(bool)
    pooled, weights = np.zeros_like(own["text"].pooled), np.zeros(present.shape)
    for row, columns in enumerate(present):
        vectors = np.stack([one.pooled[row] for one in own.values()])[columns]
        if not len(vectors):
            continue
        units = vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True) + 1e-6)
        centre = units.mean(axis=0)
        cosines = units @ centre / np.sqrt(centre @ centre + 1e-6)
        weights[row, columns] = reference.softmax(cosines / np.exp(p["log_temperature"]))
        pooled[row] = weights[row, columns] @ vectors
    return pooling(own, pooled, weights)


METHOD = Method(
    cosine_pool,
    {"temperature": 0.5, "learn_temperature": True},
    pooled_does_not_use=("_tokens/",),
)
