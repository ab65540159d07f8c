import attention_reference as ref
import numpy as np

from methods import KEY_BIAS, Expected, Method, projected


def gate(p, name):
    return np.tanh(p[f"{name}_gate"]) if f"{name}_gate" in p else 1.0


def cross_attention(p, tokens, queries=()):
    own = projected(p, tokens)
    values, maps = {name: one.values for name, one in own.items()}, {}
    for name in queries or tokens:
        others = {other: one for other, one in own.items() if other != name}
        asking = {name: own[name].mask}

        def block(p, x, asking=asking, others=others):
            x, weights = ref.cross(p, x, asking, others, gate(p, "cross_attention"))
            return ref.mlp(p, x, gate(p, "mlp")), weights

        values[name], weights = ref.transformer(p[name], own[name].values, block)
        maps |= weights
    return Expected(ref.join_summaries(p, own, values), values, attention=maps)


METHOD = Method(cross_attention, {"heads": 2, "mlp_dim": 16, "gated": True}, KEY_BIAS)
