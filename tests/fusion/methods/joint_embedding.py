import numpy as np

from methods import Method, here, pooling, projected


def joint_embedding(p, tokens):
    """Z = W_x X + W_i I + W_a A, tanh, and rows of length 1."""
    zero = np.zeros(1)
    biased = {
        name: layer if "bias" in layer else {**layer, "bias": zero} for name, layer in p.items()
    }
    own = projected(biased, tokens)
    z = sum(
        (one.pooled @ p[f"{name}_pooled"]["kernel"]) * here(one) for name, one in tokens.items()
    )
    z = np.tanh(z)
    length = np.sqrt((z**2).sum(axis=1, keepdims=True))
    return pooling(own, z / np.where(length == 0, 1, length))


METHOD = Method(
    joint_embedding,
    {"activation": "tanh", "normalize": True},
    pooled_does_not_use=("_tokens/",),
)
