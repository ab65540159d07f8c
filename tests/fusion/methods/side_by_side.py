import numpy as np
import reference

from methods import Expected, Method, projected


def side_by_side(p, tokens):
    own = projected(p, tokens)
    joined = np.concatenate([own[name].pooled for name in sorted(own)], axis=1)
    values = {name: one.values for name, one in own.items()}
    return Expected(reference.dense(p["joined"], joined), values)


METHOD = Method(side_by_side, pooled_does_not_use=("_tokens/",))
