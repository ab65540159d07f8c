import attention_reference as ref
import numpy as np
import reference

from methods import KEY_BIAS, Expected, Method, projected


def merged_attention(p, tokens):
    own = projected(p, tokens)
    groups = {name: one.mask for name, one in own.items()}
    parts = [one.values + p[f"{name}_embedding"] for name, one in own.items()]
    if "cls" in p:
        some = ref.somewhere(own, 1)
        groups = {"cls": some, **groups}
        parts = [np.tile(p["cls"], (len(some), 1, 1)), *parts]
    x, maps = ref.self_transformer(p["transformer"], np.concatenate(parts, axis=1), groups)
    mask = np.concatenate(list(groups.values()), axis=1)
    pooled = x[:, 0] if "cls" in p else reference.masked_mean(x, mask)
    stops = np.cumsum([one.shape[1] for one in groups.values()])[:-1]
    values = dict(zip(groups, np.split(x, stops, axis=1), strict=True))
    return Expected(pooled + ref.mean_summary(own), values, attention=maps)


METHOD = Method(merged_attention, {"heads": 2, "mlp_dim": 16, "depth": 1}, KEY_BIAS)
