import numpy as np

from methods import Method, here, pooling, projected


def low_rank(p, tokens):
    """Through the weight tensor that the factors stand for, made whole."""
    own = projected(p, tokens)
    first, second, third = sorted(own)
    rows, factors = {}, {}
    for name, one in own.items():
        rows[name] = np.concatenate([one.pooled, np.ones_like(here(one))], axis=1)
        factors[name] = np.concatenate([p[f"{name}_kernel"], p[f"{name}_constant"][None]])
    weights = np.einsum(
        "r,iro,jro,kro->ijko",
        p["rank_weights"],
        *[factors[name] for name in (first, second, third)],
        optimize=True,
    )
    outer = np.einsum("bi,bj,bk->bijk", rows[first], rows[second], rows[third])
    return pooling(own, np.einsum("bijk,ijko->bo", outer, weights) + p["bias"])


METHOD = Method(low_rank, {"rank": 3}, pooled_does_not_use=("_tokens/",))
