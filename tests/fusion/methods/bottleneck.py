import attention_reference as ref
import numpy as np

from methods import KEY_BIAS, Expected, Method, here, projected


def bottleneck(p, tokens):
    """Equations 8 and 9 of the paper; a modality that is absent makes no version."""
    own = projected(p, tokens)
    values, before = {}, {}
    for name, one in own.items():
        values[name], maps = one.values, {}
        if f"{name}_alone" in p:
            values[name], maps = ref.self_transformer(
                p[f"{name}_alone"], one.values, {name: one.mask}
            )
        before |= maps
    shared = np.tile(p["bottleneck"], (len(here(one)), 1, 1))
    some = ref.somewhere(own, shared.shape[1])
    count = np.maximum(sum(here(one) for one in own.values()), 1)[..., None]
    maps = []
    for layer in ref.layers(p):
        versions, found, among = 0.0, {}, 0.0
        for name, one in own.items():
            both = np.concatenate([values[name], shared], axis=1)
            groups = {name: one.mask, "bottleneck": some & (here(one) > 0)}
            x, weights = ref.own(layer[name], both, groups)
            values[name], version = np.split(ref.mlp(layer[name], x), [one.mask.shape[1]], axis=1)
            versions = versions + version * here(one)[..., None]
            among = among + weights.pop("bottleneck<-bottleneck")
            weights[f"bottleneck<-{name}"] = weights[f"bottleneck<-{name}"] / count[..., None]
            found |= weights
        shared = versions / count
        maps.append(found | {"bottleneck<-bottleneck": among / count[..., None]})
    values = {name: ref.norm(p[f"{name}_norm"], x) for name, x in values.items()}
    maps = ref.stacked(maps)
    maps |= {name: np.concatenate([first, maps[name]]) for name, first in before.items()}
    return Expected(ref.join_summaries(p, own, values), values, attention=maps)


METHOD = Method(
    bottleneck,
    {"heads": 2, "mlp_dim": 8, "depth": 2, "fusion_layer": 0, "bottlenecks": 2},
    KEY_BIAS,
)
