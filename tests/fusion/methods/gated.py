import numpy as np
import reference

from methods import Method, here, pooling, projected


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gated(p, tokens, gate="sigmoid"):
    own = projected(p, tokens)
    names = sorted(tokens)
    seen = np.concatenate([tokens[name].pooled * here(tokens[name]) for name in names], axis=1)
    if gate == "tied":
        first = sigmoid(reference.dense(p[f"{names[0]}_gate"], seen))
        gates = {names[0]: first, names[1]: 1 - first}
    else:
        logits = {name: reference.dense(p[f"{name}_gate"], seen) for name in names}
        gates = {name: sigmoid(one) for name, one in logits.items()}
        if gate == "softmax":
            shares = {name: np.exp(one) * here(tokens[name]) for name, one in logits.items()}
            total = np.maximum(sum(shares.values()), 1e-300)
            gates = {name: share / total for name, share in shares.items()}
    gates = {name: gates[name] * here(one) for name, one in tokens.items()}
    pooled = sum(gates[name] * np.tanh(own[name].pooled) for name in tokens)
    weights = np.stack([gates[name].mean(axis=1) for name in tokens], axis=1)
    return pooling(own, pooled, weights)


METHOD = Method(gated, pooled_does_not_use=("_tokens/",))
