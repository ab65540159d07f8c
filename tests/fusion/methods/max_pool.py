import numpy as np

from methods import Method, here, pooling, projected


def max_pool(p, tokens):
    own = projected(p, tokens)
    parts = [np.where(here(one) > 0, one.pooled, -np.inf) for one in own.values()]
    pooled = np.max(parts, axis=0)
    return pooling(own, np.where(np.isfinite(pooled), pooled, 0))


METHOD = Method(max_pool, pooled_does_not_use=("_tokens/",))
