import dataclasses

import numpy as np
import reference

from methods import WIDTH, Expected, Method, here, projected


def film(p, tokens, targets=()):
    own = projected(p, tokens)
    names = sorted(own)
    modulated = dict(own)
    for name in targets or names:
        others = [own[other] for other in names if other != name]
        seen = np.concatenate([one.pooled for one in others], axis=1)
        some = np.maximum.reduce([here(one) for one in others])
        both = reference.dense(p[f"{name}_modulation"], seen) * some
        gamma, beta = both[:, :WIDTH], both[:, WIDTH:]
        values = own[name].values * (1 + gamma)[:, None] + beta[:, None]
        modulated[name] = dataclasses.replace(
            own[name],
            values=values * own[name].mask[..., None],
            pooled=(own[name].pooled * (1 + gamma) + beta) * here(own[name]),
        )
    summaries = [
        modulated[name].pooled + reference.masked_mean(modulated[name].values, own[name].mask)
        for name in names
    ]
    pooled = reference.dense(p["out"], np.concatenate(summaries, axis=1))
    return Expected(pooled, {name: one.values for name, one in modulated.items()})


METHOD = Method(film)
