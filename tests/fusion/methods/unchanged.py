import numpy as np

from methods import WIDTH, Expected, Method, here, projected


def unchanged(p, tokens):
    others = {name: one for name, one in tokens.items() if one.values.shape[-1] != WIDTH}
    own = {**tokens, **projected(p, others)}
    total = sum(one.pooled * here(one) for one in own.values())
    count = sum(here(one) for one in own.values())
    values = {name: one.values for name, one in own.items()}
    return Expected(total / np.maximum(count, 1), values)


METHOD = Method(unchanged, pooled_does_not_use=("_tokens/",))
