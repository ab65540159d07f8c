import numpy as np
import reference

from methods import Method, here, pooling, projected


def tensor(p, tokens):
    own = projected(p, tokens)
    products = []
    for row in range(len(here(own["text"]))):
        parts = []
        for name in sorted(own):
            narrow = reference.dense(p[f"{name}_narrow"], own[name].pooled[row])
            parts.append(np.append(narrow * here(own[name])[row], 1.0))
        products.append(np.multiply.outer(np.multiply.outer(parts[0], parts[1]), parts[2]).ravel())
    return pooling(own, reference.dense(p["out"], np.stack(products)))


METHOD = Method(tensor, {"tensor_width": 2}, pooled_does_not_use=("_tokens/",))
