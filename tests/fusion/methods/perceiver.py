import attention_reference as ref
import numpy as np
import reference

from methods import KEY_BIAS, Expected, Method, pooling, projected


def perceiver(p, tokens):
    own = projected(p, tokens)
    latents = ref.somewhere(own, len(p["latents"]))
    among = {"latents": latents}

    def block(p, x):
        x, cross = ref.cross(p, x, among, own)
        x, to_itself = ref.own(p, x, among)
        return ref.mlp(p, x), cross | to_itself

    start = np.tile(p["latents"], (len(latents), 1, 1))
    x, maps = ref.transformer(p["transformer"], start, block)
    pooled = reference.masked_mean(x, latents) + ref.mean_summary(own)
    values = {**pooling(own, pooled).values, "latents": x}
    return Expected(pooled, values, attention=maps)


METHOD = Method(perceiver, {"heads": 2, "mlp_dim": 16, "depth": 1, "latents": 3}, KEY_BIAS)
