"""Writes language_models.npz with torch: `python tests/golden/make_language_models.py`.

Tiny BERT and GPT-2 of transformers with the random weights of `goldens.weight`, their own losses
on given labels, and the gradients of some weights, the shared table of words among them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import goldens

RNG = np.random.default_rng(0)
WORDS, LENGTH, ROWS = 23, 9, 4
LENGTHS = np.array([9, 6, 4, 9])
MASK = np.arange(LENGTH) < LENGTHS[:, None]
IDS = np.where(MASK, RNG.integers(5, WORDS, (ROWS, LENGTH)), 0)

MODELS = {
    "bert": (
        BertForMaskedLM,
        BertConfig(
            vocab_size=WORDS,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=24,
            max_position_embeddings=12,
        ),
        (
            "bert.embeddings.word_embeddings.weight",
            "bert.encoder.layer.0.attention.self.query.weight",
            "cls.predictions.transform.dense.weight",
            "cls.predictions.transform.LayerNorm.weight",
            "cls.predictions.bias",
        ),
    ),
    "gpt2": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=1, n_head=4, n_positions=12),
        ("transformer.wte.weight", "transformer.h.0.mlp.c_fc.weight"),
    ),
}


def labels_of(name):
    """What is fed and what is guessed, -100 where nothing is."""
    if name == "gpt2":
        return IDS, np.where(MASK, IDS, -100)
    chosen = MASK & (RNG.uniform(size=MASK.shape) < 0.3)
    chosen[:, 1] = True
    return np.where(chosen, 4, IDS), np.where(chosen, IDS, -100)


def main():
    found = {"mask": MASK, "ids": IDS.astype(np.int32)}
    for name, (make, config, gradients) in MODELS.items():
        model = make(config).eval()
        named = dict(model.named_parameters())
        for key, weight in named.items():
            weight.data = torch.tensor(goldens.weight(key, tuple(weight.shape)))
        ids, labels = labels_of(name)
        output = model(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(MASK.astype(np.int64)),
            labels=torch.tensor(labels),
        )
        output.loss.backward()
        shapes = {key: tuple(weight.shape) for key, weight in named.items()}
        found |= {f"{name}_gradient/{k}": named[k].grad.numpy() for k in gradients}
        found |= {
            f"{name}_fed": ids.astype(np.int32),
            f"{name}_labels": labels.astype(np.int32),
            f"{name}_loss": output.loss.detach().numpy(),
            f"{name}_config": np.array(json.dumps(config.to_diff_dict())),
            f"{name}_shapes": np.array(json.dumps(shapes)),
        }
    np.savez_compressed(Path(__file__).with_name("language_models.npz"), **found)


if __name__ == "__main__":
    main()
