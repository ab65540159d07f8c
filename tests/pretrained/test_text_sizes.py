"""The configs of well-known checkpoints mean modules with the published number of parameters."""

from __future__ import annotations

import jax
import pytest
import reference

from mmjax.pretrained import find

transformers = pytest.importorskip("transformers")

BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
POOLED = frozenset({"pooler.dense.weight", "pooler.weight"})

SIZES = {
    "roberta-base": (
        "roberta",
        {**BASE, "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
        124_645_632,
    ),
    "xlm-roberta-base": (
        "xlm-roberta",
        {**BASE, "vocab_size": 250002, "max_position_embeddings": 514, "type_vocab_size": 1},
        278_043_648,
    ),
    "distilbert-base-uncased": ("distilbert", {}, 66_362_880),
    "albert-base-v2": (
        "albert",
        {**BASE, "vocab_size": 30000, "embedding_size": 128},
        11_683_584,
    ),
    "electra-small-discriminator": ("electra", {}, 13_548_800),
    "mpnet-base": (
        "mpnet",
        {**BASE, "vocab_size": 30527, "max_position_embeddings": 514},
        109_486_464,
    ),
    "deberta-v3-base": (
        "deberta-v2",
        {
            **BASE,
            "vocab_size": 128100,
            "type_vocab_size": 0,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "position_biased_input": False,
        },
        183_831_552,
    ),
    "ModernBERT-base": ("modernbert", {}, 149_014_272),
    "gpt2": ("gpt2", {}, 124_439_808),
    "gpt-neo-125m": (
        "gpt_neo",
        {
            "hidden_size": 768,
            "num_layers": 12,
            "num_heads": 12,
            "attention_types": [[["global", "local"], 6]],
        },
        125_198_592,
    ),
    "opt-125m": ("opt", {}, 125_239_296),
    "bloom-560m": ("bloom", {"hidden_size": 1024, "n_layer": 24, "n_head": 16}, 559_214_592),
    "pythia-160m": ("gpt_neox", {**BASE, "vocab_size": 50304}, 162_322_944),
    "xglm-564M": ("xglm", {}, 564_463_616),
    "llama-2-7b": ("llama", {}, 6_738_415_616),
    "mistral-7b": ("mistral", {}, 7_241_732_096),
    "Qwen3-0.6B": (
        "qwen3",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": 3072,
            "tie_word_embeddings": True,
        },
        596_049_920,
    ),
    "gemma-2b": (
        "gemma",
        {
            "hidden_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "intermediate_size": 16384,
        },
        2_506_172_416,
    ),
}
"""Checkpoint, its model type, what of its config is not the default, and parameters."""


@pytest.mark.parametrize("name", sorted(SIZES))
def test_published_number_of_parameters(name):
    model_type, given, parameters = SIZES[name]
    config = transformers.CONFIG_MAPPING[model_type](**given)
    family = find(model_type)
    module = family.registry.build(family.spec(config, POOLED).replace(scan=True))
    variables = jax.eval_shape(
        lambda: module.init(jax.random.key(0), **family.inputs(config), train=False)
    )
    assert reference.count(variables["params"]) == parameters
