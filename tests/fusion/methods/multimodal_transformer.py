import attention_reference as ref
import numpy as np
import reference

from methods import KEY_BIAS, Expected, Method, projected


def multimodal_transformer(p, tokens):
    """Equations 2 to 4 of the paper."""
    own = projected(p, tokens)
    values, maps = {}, {}
    for target, one in own.items():
        asking, crossed = {target: one.mask}, []
        for source in sorted(set(own) - {target}):

            def block(p, x, asking=asking, source=source):
                x, weights = ref.cross(p, x, asking, {source: own[source]})
                return ref.mlp(p, x), weights

            x, weights = ref.transformer(p[f"{target}_from_{source}"], one.values, block)
            crossed.append(x)
            maps |= weights
        joined = np.concatenate(crossed, axis=-1)
        memory, weights = ref.self_transformer(p[f"{target}_memory"], joined, asking)
        maps |= weights
        values[target] = reference.dense(p[f"{target}_out"], memory)
    return Expected(ref.join_summaries(p, own, values), values, attention=maps)


METHOD = Method(multimodal_transformer, {"heads": 2, "mlp_dim": 16, "depth": 1}, KEY_BIAS)
