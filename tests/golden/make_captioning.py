"""Writes captioning.npz with torch: `python tests/golden/make_captioning.py`.

The captioning loss by torch's own `cross_entropy`, and a whole CoCa (Yu et al. 2022) of torch's own
layers with the two losses of OpenCLIP's `CoCaLoss`: patches, attention pooling in cascade, causal
text layers with a class token behind the words, and decoder layers that look at the pooled tokens.
All in float64, with the gradient of every weight.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

RNG = np.random.default_rng(0)
ROWS, LENGTH, WORDS, WIDTH, HEADS, HIDDEN = 4, 6, 13, 8, 2, 12
LENGTHS = np.array([6, 4, 3, 5])
IDS = RNG.integers(1, WORDS, (ROWS, LENGTH)) * (np.arange(LENGTH) < LENGTHS[:, None])
PIXELS = RNG.standard_normal((ROWS, 8, 8, 3)).astype(np.float32)
LEAVES: dict[str, torch.Tensor] = {}


def leaf(name, *shape):
    """A random weight, drawn when it is first asked for."""
    if name not in LEAVES:
        values = (RNG.standard_normal(shape) * 0.4).astype(np.float32)
        LEAVES[name] = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    return LEAVES[name]


def norm(name, x, eps):
    return F.layer_norm(x, (WIDTH,), leaf(f"{name}/scale", WIDTH), leaf(f"{name}/bias", WIDTH), eps)


def attention(name):
    """Weights of an `nn.MultiheadAttention`."""
    parts = ("query", "key", "value")
    shape = (WIDTH, HEADS, WIDTH // HEADS)
    kernels = [leaf(f"{name}/{part}/kernel", *shape).reshape(WIDTH, WIDTH).T for part in parts]
    biases = [leaf(f"{name}/{part}/bias", *shape[1:]).reshape(WIDTH) for part in parts]
    out = leaf(f"{name}/out/kernel", *shape[1:], WIDTH).reshape(WIDTH, WIDTH).T
    return {
        "in_proj_weight": torch.cat(kernels),
        "in_proj_bias": torch.cat(biases),
        "out_proj.weight": out,
        "out_proj.bias": leaf(f"{name}/out/bias", WIDTH),
    }


def layer(name, parts):
    """Weights of an `nn.TransformerEncoderLayer` or `nn.TransformerDecoderLayer`."""
    theirs = {"attention": "self_attn", "cross_attention": "multihead_attn"}
    found = {}
    for index, part in enumerate([*parts, "mlp"]):
        found[f"norm{index + 1}.weight"] = leaf(f"{name}/{part}_norm/scale", WIDTH)
        found[f"norm{index + 1}.bias"] = leaf(f"{name}/{part}_norm/bias", WIDTH)
        if part in theirs:
            own = attention(f"{name}/{part}")
            found |= {f"{theirs[part]}.{key}": value for key, value in own.items()}
    for ours, linear, sizes in (
        ("up", "linear1", (WIDTH, HIDDEN)),
        ("down", "linear2", (HIDDEN, WIDTH)),
    ):
        found[f"{linear}.weight"] = leaf(f"{name}/mlp/{ours}/kernel", *sizes).T
        found[f"{linear}.bias"] = leaf(f"{name}/mlp/{ours}/bias", sizes[1])
    return found


def run(cls, weights, *args, eps, **options):
    settings = {"dim_feedforward": HIDDEN, "dropout": 0.0, "activation": "gelu"}
    settings |= {"batch_first": True, "norm_first": True, "layer_norm_eps": eps}
    return functional_call(cls(WIDTH, HEADS, **settings).double(), weights, args, options)


def pool(name, x):
    """OpenCLIP's `AttentionalPooler`, and a norm behind it."""
    count = 3 if name == "tokens" else 1
    name = f"encoders_image/{name}"
    queries = norm(f"{name}_query_norm", leaf(f"{name}_queries", count, WIDTH), 1e-5)
    seen = norm(f"{name}_key_norm", x, 1e-5)
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    given = (queries.expand(ROWS, count, WIDTH), seen, seen)
    found, _ = functional_call(module, attention(f"{name}_attention"), given)
    return norm(f"{name}_norm", found, 1e-5)


def picture():
    name = "encoders_image/encoder"
    pixels = torch.tensor(PIXELS, dtype=torch.float64)
    patches = pixels.unfold(1, 4, 4).unfold(2, 4, 4).permute(0, 1, 2, 4, 5, 3)
    x = patches.reshape(ROWS, 4, 48) @ leaf(f"{name}/patches/projection/kernel", 48, WIDTH)
    x = x + leaf(f"{name}/patches/projection/bias", WIDTH)
    first = leaf(f"{name}/class_token", 1, 1, WIDTH).expand(ROWS, 1, WIDTH)
    x = torch.cat([first, x], dim=1) + leaf(f"{name}/positions", 1, 5, WIDTH)
    tokens = pool("tokens", norm(f"{name}/transformer/norm", x, 1e-12))
    return tokens, pool("pooled", tokens)[:, 0]


def hidden_words():
    """Where no token may look: ahead, and at padding."""
    return torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1), torch.tensor(IDS == 0)


def text():
    name = "encoders_text/layers"
    ids = torch.tensor(np.pad(IDS, ((0, 0), (0, 1)), constant_values=WORDS))
    x = leaf(f"{name}/words/embedding", WORDS + 1, WIDTH)[ids]
    x = x + leaf(f"{name}/positions/embedding", LENGTH + 1, WIDTH)
    ahead = torch.ones(LENGTH + 1, LENGTH + 1, dtype=torch.bool).triu(1)
    padding = torch.tensor(np.pad(IDS == 0, ((0, 0), (0, 1))))
    weights = layer(f"{name}/stack/layer_0", ["attention"])
    masks = {"src_mask": ahead, "src_key_padding_mask": padding}
    x = norm(f"{name}/norm", run(nn.TransformerEncoderLayer, weights, x, eps=1e-5, **masks), 1e-5)
    return x[:, :-1], x[:, -1]


def decoder(words, seen):
    name = "objectives_captioning/decoder"
    ahead, padding = hidden_words()
    masks = {"tgt_mask": ahead, "tgt_key_padding_mask": padding}
    weights = layer(f"{name}/transformer/stack/layer_0", ["attention", "cross_attention"])
    seen = norm(f"{name}/context_norm", seen, 1e-6)
    x = run(nn.TransformerDecoderLayer, weights, words, seen, eps=1e-6, **masks)
    x = norm(f"{name}/transformer/norm", x, 1e-6)
    return x @ leaf(f"{name}/head/kernel", WIDTH, WORDS)


def coca():
    """The contrastive and the captioning loss."""
    tokens, image = picture()
    words, sentence = text()
    image, sentence = (
        F.normalize(pooled @ leaf(f"joint/{name}/kernel", WIDTH, 5), dim=-1)
        for name, pooled in (("image", image), ("text", sentence))
    )
    scale = leaf("objectives_contrastive/logit_scale").exp()
    logits, pairs = scale * image @ sentence.T, torch.arange(ROWS)
    contrastive = (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
    logits = decoder(words, tokens)[:, :-1]
    labels = torch.tensor(IDS[:, 1:])
    return contrastive, F.cross_entropy(logits.permute(0, 2, 1), labels, ignore_index=0)


arrays = {"ids": IDS.astype(np.int32), "pixels": PIXELS}
contrastive, captioning = coca()
(contrastive + 2.0 * captioning).backward()
arrays |= {"contrastive_loss": contrastive.item(), "captioning_loss": captioning.item()}
for name, tensor in LEAVES.items():
    arrays[f"weights/{name}"] = tensor.detach().numpy().astype(np.float32)
    arrays[f"gradients/{name}"] = tensor.grad.numpy().astype(np.float32)

arrays["logits"] = RNG.standard_normal((ROWS, LENGTH, WORDS)).astype(np.float32)
for smoothing in (0.0, 0.1):
    given = torch.tensor(arrays["logits"], dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(
        given.permute(0, 2, 1), torch.tensor(IDS), ignore_index=0, label_smoothing=smoothing
    )
    loss.backward()
    arrays[f"loss_{smoothing}"] = loss.item()
    arrays[f"gradient_{smoothing}"] = given.grad.numpy().astype(np.float32)
np.savez_compressed(Path(__file__).with_name("captioning.npz"), **arrays)
