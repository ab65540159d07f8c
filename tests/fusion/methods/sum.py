import numpy as np

from methods import Method, here, pooling, projected


def sum_of_projected(p, tokens):
    own = projected(p, tokens)
    weights = np.concatenate([here(one) for one in tokens.values()], axis=1)
    return pooling(own, sum(one.pooled for one in own.values()), weights)


METHOD = Method(sum_of_projected, pooled_does_not_use=("_tokens/",))
