import attention_reference as ref

from methods import KEY_BIAS, Expected, Method, projected


def co_attention(p, tokens):
    own = projected(p, tokens)
    now, maps = own, []
    for layer in ref.layers(p):
        after, maps_here = {}, {}
        for name, one in now.items():
            others = {other: now[other] for other in now if other != name}
            asking = {name: one.mask}
            x, cross = ref.cross(layer[name], one.values, asking, others)
            x, to_itself = ref.own(layer[name], x, asking)
            after[name] = one.replace(values=ref.mlp(layer[name], x))
            maps_here |= cross | to_itself
        now = after
        maps.append(maps_here)
    values = {name: ref.norm(p[f"{name}_norm"], one.values) for name, one in now.items()}
    pooled = ref.join_summaries(p, own, values)
    return Expected(pooled, values, attention=ref.stacked(maps))


METHOD = Method(co_attention, {"heads": 2, "mlp_dim": 8, "depth": 1}, KEY_BIAS)
