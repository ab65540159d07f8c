"""Dual towers: odd lengths, ragged padding, ends of text at several places, rectangular grids."""

from __future__ import annotations

import numpy as np
from make_goldens import Case, channels_last

RNG = np.random.RandomState(3)
PIXELS = RNG.standard_normal((2, 3, 12, 12)).astype(np.float32)
WIDE = RNG.standard_normal((2, 3, 8, 20)).astype(np.float32)
END = 49
LENGTHS = (7, 4, 2)
MASK = (np.arange(7) < np.array(LENGTHS)[:, None]).astype(np.int64)
IDS = RNG.randint(1, 49, (3, 7))
for row, length in enumerate(LENGTHS):
    IDS[row, length - 1 :] = END
"""Ended, and padded with the end, as CLIP's tokenizer does."""
SEGMENTS = (np.arange(7) >= 3).astype(np.int64)[None].repeat(3, 0)

TEXT = {"input_ids": IDS, "attention_mask": MASK}
BOTH = {"pixel_values": PIXELS, **TEXT}
JOINT = {"vision": "image_embeds", "text": "text_embeds"}
ALONE = {"values": "last_hidden_state", "pooled": "pooler_output"}

BLOCKS = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
WORDS = {**BLOCKS, "hidden_size": 16, "vocab_size": 50, "max_position_embeddings": 9}
GRID = {**BLOCKS, "hidden_size": 20, "image_size": 12, "patch_size": 4}


FLEXIBLE = {**BLOCKS, "hidden_size": 20, "num_patches": 16, "patch_size": 2}
PATCHES = {
    "pixel_values": RNG.standard_normal((3, 10, 12)).astype(np.float32),
    "spatial_shapes": np.array([[2, 5], [4, 2], [3, 3]]),
    "pixel_attention_mask": (np.arange(10) < np.array([[10], [8], [9]])).astype(np.int64),
}
"""Grids with more and with fewer rows and columns than the learned one of 4 x 4."""


def scale(output):
    """The logit scale that a pair's logits were multiplied by."""
    return (output.logits_per_image / (output.image_embeds @ output.text_embeds.T)).mean()


def slope(output):
    """The logit scale, where logits have a bias too: their rise with the cosine."""
    cosines, logits = _pairs(output)
    return (logits[0] - logits[-1]) / (cosines[0] - cosines[-1])


def offset(output):
    cosines, logits = _pairs(output)
    return logits[0] - slope(output) * cosines[0]


def _pairs(output):
    """Cosines and logits of the pairs, in double precision, from the least cosine on."""
    cosines = (output.image_embeds @ output.text_embeds.T).double().flatten()
    order = cosines.argsort()
    return cosines[order], output.logits_per_image.double().flatten()[order]


CASES = {
    "clip": Case(
        "CLIPModel",
        {
            "text_config": {**WORDS, "eos_token_id": END},
            "vision_config": GRID,
            "projection_dim": 12,
        },
        lambda config: BOTH,
        {**JOINT, "logit_scale": scale},
        ours=channels_last,
    ),
    "clip_vision_model": Case(
        "CLIPVisionModel",
        {**GRID, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
        lambda config: {"pixel_values": WIDE},
        ALONE,
        gradients=("vision_model.embeddings.class_embedding",),
        ours=channels_last,
        call={"interpolate_pos_encoding": True},
    ),
    "clip_text_model": Case(
        "CLIPTextModel",
        {**WORDS, "eos_token_id": 2, "layer_norm_eps": 1e-3},
        lambda config: {**TEXT, "position_ids": np.arange(7)[None].repeat(3, 0)[:, ::-1].copy()},
        ALONE,
    ),
    "siglip": Case(
        "SiglipModel",
        {
            "text_config": {**WORDS, "projection_size": 20},
            "vision_config": {**GRID, "layer_norm_eps": 1e-3},
        },
        lambda config: BOTH,
        {**JOINT, "logit_scale": slope, "logit_bias": offset},
        ours=channels_last,
    ),
    "siglip_vision_model": Case(
        "SiglipVisionModel",
        {**GRID, "hidden_act": "gelu"},
        lambda config: {"pixel_values": WIDE},
        ALONE,
        gradients=("vision_model.embeddings.position_embedding.weight",),
        ours=channels_last,
        call={"interpolate_pos_encoding": True},
    ),
    "siglip_vision_model_no_head": Case(
        "SiglipVisionModel",
        {**GRID, "vision_use_head": False},
        lambda config: {"pixel_values": PIXELS},
        {"values": "last_hidden_state"},
        ours=channels_last,
    ),
    "siglip_text_model": Case(
        "SiglipTextModel",
        {**WORDS, "hidden_act": "relu"},
        lambda config: {"input_ids": IDS, "position_ids": np.arange(7)[None, ::-1].copy()},
        ALONE,
    ),
    "vision-text-dual-encoder": Case(
        "VisionTextDualEncoderModel",
        {
            "vision_config": {**GRID, "model_type": "vit"},
            "text_config": {**WORDS, "model_type": "bert", "type_vocab_size": 2},
            "projection_dim": 12,
        },
        lambda config: {**BOTH, "token_type_ids": SEGMENTS},
        {**JOINT, "logit_scale": scale},
        ours=channels_last,
    ),
    "vision-text-dual-encoder_clip": Case(
        "VisionTextDualEncoderModel",
        {
            "vision_config": {**GRID, "model_type": "clip_vision_model"},
            "text_config": {**WORDS, "model_type": "roberta", "max_position_embeddings": 12},
            "projection_dim": 12,
        },
        lambda config: BOTH,
        JOINT,
        ours=channels_last,
    ),
    "siglip2": Case(
        "Siglip2Model",
        {"text_config": {**WORDS, "projection_size": 20}, "vision_config": FLEXIBLE},
        lambda config: {**PATCHES, **TEXT},
        {**JOINT, "logit_scale": slope, "logit_bias": offset},
    ),
    "siglip2_vision_model": Case("Siglip2VisionModel", FLEXIBLE, lambda config: PATCHES, ALONE),
}
