import numpy as np

from methods import Method, here, pooling, projected


def mean_pool(p, tokens):
    """Row by row, over the list of those that are there."""
    own = projected(p, tokens)
    weights = np.concatenate([here(one) for one in tokens.values()], axis=1)
    pooled = np.zeros_like(own["text"].pooled)
    for row, present in enumerate(weights.astype(bool)):
        found = [one.pooled[row] for one, yes in zip(own.values(), present, strict=True) if yes]
        if found:
            pooled[row] = np.mean(found, axis=0)
            weights[row, present] = 1 / len(found)
    return pooling(own, pooled, weights)


METHOD = Method(mean_pool, pooled_does_not_use=("_tokens/",))
