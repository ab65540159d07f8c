"""Writes explanations.npz: `python tests/golden/make_explanations.py`, with torch 2.13, captum 0.9
and transformers 4.57.6.

A model of text and picture (transformers' BertModel, two convolutions, their summaries projected
and concatenated) with random weights, and of the log-odds of its most likely class: captum's
IntegratedGradients of pixels and of word embeddings at once, LayerGradCam of the last convolution,
attention rollout (Abnar and Zuidema 2020) and the relevance of Chefer et al. (2021), both written
here from their papers in torch, the latter with autograd's gradients of the attention weights.
The weights are stored by the names that mmjax has for them.
"""

from pathlib import Path

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerGradCam
from torch import nn
from transformers import BertConfig, BertModel

VOCABULARY, LENGTH, WIDTH, HEADS, DEPTH, HIDDEN = 20, 6, 8, 2, 2, 12
SIDE, CHANNELS, LABELS, FUSED, ROWS, STEPS = 6, (4, 5), 3, 7, 4, 50


class Twin(nn.Module):
    def __init__(self):
        super().__init__()
        config = BertConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=DEPTH,
            num_attention_heads=HEADS, intermediate_size=HIDDEN, max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.5,
            attn_implementation="eager",
        )  # fmt: skip
        self.bert = BertModel(config)
        self.conv_0 = nn.Conv2d(3, CHANNELS[0], 3, padding=1)
        self.conv_1 = nn.Conv2d(CHANNELS[0], CHANNELS[1], 3, padding=1)
        self.image_pooled = nn.Linear(CHANNELS[1], FUSED)
        self.text_pooled = nn.Linear(WIDTH, FUSED)
        self.layer_0 = nn.Linear(2 * FUSED, FUSED)
        self.head = nn.Linear(FUSED, LABELS)

    def forward(self, embeddings, pixels, mask, attentions=None):
        found = self.bert(inputs_embeds=embeddings, attention_mask=mask, output_attentions=True)
        if attentions is not None:
            attentions += found.attentions
        values = torch.relu(self.conv_1(torch.relu(self.conv_0(pixels))))
        image = self.image_pooled(values.mean(dim=(2, 3)))
        fused = self.layer_0(torch.cat([image, self.text_pooled(found.pooler_output)], dim=1))
        logits = self.head(fused)
        # Of each class, log p - log(1 - p).
        shares = torch.log_softmax(logits.double(), dim=1)
        return shares - torch.log1p(-shares.exp())


def main():
    torch.manual_seed(0)
    twin = Twin().eval()
    with torch.no_grad():
        for name, one in twin.named_parameters():
            if not name.startswith("bert") or "bias" in name:
                one.copy_(torch.randn_like(one) * 0.5)
    ids = torch.randint(3, VOCABULARY, (ROWS, LENGTH))
    mask = torch.ones(ROWS, LENGTH, dtype=torch.long)
    mask[1, 4:] = 0
    pixels = torch.randn(ROWS, 3, SIDE, SIDE)
    words = twin.bert.embeddings.word_embeddings(ids).detach()
    log_odds = twin(words, pixels, mask)
    said = log_odds.argmax(dim=1)
    integrated = IntegratedGradients(twin, multiply_by_inputs=True).attribute(
        (words, pixels), target=said, additional_forward_args=(mask,), n_steps=STEPS,
    )  # fmt: skip
    cam = LayerGradCam(lambda p: twin(words, p, mask), twin.conv_1).attribute(
        pixels, target=said, relu_attributions=True
    )
    attentions = []
    twin(words, pixels, mask, attentions).gather(1, said[:, None]).sum().backward(
        inputs=None, retain_graph=True
    )
    attentions = []
    score = twin(words, pixels, mask, attentions).gather(1, said[:, None]).sum()
    slopes = torch.autograd.grad(score, attentions)
    eye = torch.eye(LENGTH)[None]
    relevance, rolled = eye.repeat(ROWS, 1, 1), eye.repeat(ROWS, 1, 1)
    for weights, slope in zip(attentions, slopes, strict=True):
        relevance = relevance + (slope * weights).clamp(min=0).mean(dim=1) @ relevance
        half = (weights.mean(dim=1) + eye) / 2
        rolled = half / half.sum(dim=-1, keepdim=True) @ rolled
    found = {
        "ids": ids, "mask": mask.bool(), "pixels": pixels.permute(0, 2, 3, 1), "log_odds": log_odds,
        "integrated_text": integrated[0].sum(dim=-1), "integrated_image": integrated[1].sum(dim=1),
        "grad_cam": cam[:, 0], "relevance": relevance[:, 0], "rollout": rolled[:, 0],
        "slope": slopes[0],
    }  # fmt: skip
    arrays = {name: one.detach().numpy() for name, one in found.items()}
    weights = {f"weights/{name}": one for name, one in named(twin).items()}
    path = Path(__file__).with_name("explanations.npz")
    np.savez_compressed(path, **arrays, **weights)


def named(twin):
    """The weights by mmjax's names and in its shapes."""
    state = {name: one.detach().numpy() for name, one in twin.state_dict().items()}
    found = {}

    def dense(place, name, shape=None, bias=None):
        kernel = state[f"{name}.weight"].T
        found[f"{place}/kernel"] = kernel if shape is None else kernel.reshape(shape)
        own = state[f"{name}.bias"]
        found[f"{place}/bias"] = own if bias is None else own.reshape(bias)

    def norm(place, name):
        found[f"{place}/scale"] = state[f"{name}.weight"]
        found[f"{place}/bias"] = state[f"{name}.bias"]

    heads = (HEADS, WIDTH // HEADS)
    base = "bert.embeddings"
    for place, name in (
        ("words", "word_embeddings"),
        ("positions", "position_embeddings"),
        ("segments", "token_type_embeddings"),
    ):
        found[f"encoders_text/{place}/embedding"] = state[f"{base}.{name}.weight"]
    norm("encoders_text/embeddings_norm", f"{base}.LayerNorm")
    for layer in range(DEPTH):
        theirs = f"bert.encoder.layer.{layer}"
        ours = f"encoders_text/transformer/stack/layer_{layer}"
        for part in ("query", "key", "value"):
            dense(
                f"{ours}/attention/{part}",
                f"{theirs}.attention.self.{part}",
                (WIDTH, *heads),
                heads,
            )
        dense(f"{ours}/attention/out", f"{theirs}.attention.output.dense", (*heads, WIDTH))
        norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm")
        dense(f"{ours}/mlp/up", f"{theirs}.intermediate.dense")
        dense(f"{ours}/mlp/down", f"{theirs}.output.dense")
        norm(f"{ours}/mlp_norm", f"{theirs}.output.LayerNorm")
    dense("encoders_text/pooler", "bert.pooler.dense")
    for part in ("conv_0", "conv_1"):
        found[f"encoders_image/{part}/kernel"] = state[f"{part}.weight"].transpose(2, 3, 1, 0)
        found[f"encoders_image/{part}/bias"] = state[f"{part}.bias"]
    for part in ("image_pooled", "text_pooled", "layer_0"):
        dense(f"fusion/{part}", part)
    dense("task/head", "head")
    return found


if __name__ == "__main__":
    main()
