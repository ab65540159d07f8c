import dataclasses

import numpy as np
import reference

from methods import KEY_BIAS, Expected, Method, here, projected


def cross_attention(p, tokens, queries=()):
    own = projected(p, tokens)
    attended = dict(own)
    for name in queries or tokens:
        others = [one for other, one in own.items() if other != name]
        values = reference.transformer(
            p[name],
            own[name].values,
            own[name].mask,
            np.concatenate([one.values for one in others], axis=1),
            np.concatenate([one.mask for one in others], axis=1),
            norm="pre",
            eps=1e-6,
        )
        masked = values * own[name].mask[..., None]
        attended[name] = dataclasses.replace(own[name], values=masked)
    summaries = [
        (own[name].pooled + reference.masked_mean(attended[name].values, own[name].mask))
        * here(own[name])
        for name in sorted(own)
    ]
    pooled = reference.dense(p["out"], np.concatenate(summaries, axis=1))
    return Expected(pooled, {name: one.values for name, one in attended.items()})


METHOD = Method(cross_attention, {"heads": 2, "mlp_dim": 16}, KEY_BIAS)
