import numpy as np
import reference

from methods import WIDTH, Method, here, pooling, projected
from mmjax.fusion.bilinear import hashes

EPS = 1e-6


def normalised(x):
    rooted = np.sign(x) * (np.sqrt(np.abs(x) + EPS) - np.sqrt(EPS))
    return rooted / np.sqrt((rooted**2).sum(axis=1, keepdims=True) + EPS)


def mfb(p, tokens):
    own = projected(p, tokens)
    product = 1.0
    for name in sorted(own):
        factors = np.einsum("bd,dok->bok", own[name].pooled, p[f"{name}_factors"]["kernel"])
        product = product * np.where(here(own[name])[..., None] > 0, factors, 1.0)
    return pooling(own, WIDTH**0.5 * normalised(product.sum(axis=2)))


def mcb(p, tokens, sketch, seed):
    """By the definition: every entry of the outer product goes to its place."""
    own = projected(p, tokens)
    sketched = np.zeros((len(here(own["text"])), sketch))
    for row in range(len(sketched)):
        products, places = np.ones(1), np.zeros(1, int)
        for name in sorted(own):
            if not here(own[name])[row]:
                continue
            values = own[name].pooled[row]
            place, sign = hashes(name, len(values), sketch, seed)
            products = np.multiply.outer(products, values * sign).ravel()
            places = np.add.outer(places, place).ravel()
        np.add.at(sketched[row], places % sketch, products)
    return pooling(own, reference.dense(p["out"], normalised(sketched)))


METHOD = Method(mfb, {"factor": 3}, pooled_does_not_use=("_tokens/",))
