"""SigLIP and SigLIP 2, whose checkpoints for one picture size are of the type "siglip"."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.pretrained.families.clip import below, layers, options, pictures, words
from mmjax.pretrained.family import Family, Inputs, Names, image_inputs, text_inputs
from mmjax.pretrained.rules import Table, dense, heads_in, heads_out, norm, param, parts


def pool(theirs: str, ours: str, config: Any) -> Table:
    """The head of the vision tower, whose attention is torch's own class with a fused QKV."""
    heads = config.num_attention_heads
    projections = [
        heads_in(f"{theirs}.attention.in_proj", f"{ours}/attention/{role}", heads)
        for role in ("query", "key", "value")
    ]
    fused = [
        dataclasses.replace(leaf, theirs=leaf.theirs.replace("in_proj.", "in_proj_"))
        for leaf in parts(projections, (config.hidden_size,) * 3)
    ]
    return [
        *param(f"{theirs}.probe", f"{ours}/probe"),
        *fused,
        *heads_out(f"{theirs}.attention.out_proj", f"{ours}/attention/out", heads),
        *norm(f"{theirs}.layernorm", f"{ours}/norm"),
        *dense(f"{theirs}.mlp.fc1", f"{ours}/mlp/up"),
        *dense(f"{theirs}.mlp.fc2", f"{ours}/mlp/down"),
    ]


def has_head(config: Any) -> bool:
    return getattr(config, "vision_use_head", True)


def is_flexible(config: Any) -> bool:
    """SigLIP 2's NaFlex, which takes patches instead of pictures."""
    return config.model_type == "siglip2_vision_model"


def patch_table(config: Any) -> Table:
    embeddings = "vision_model.embeddings"
    return [
        *dense(f"{embeddings}.patch_embedding", "patches"),
        *param(f"{embeddings}.position_embedding.weight", "positions"),
        *layers("vision_model", config),
    ]


def vision_table(config: Any) -> Table:
    return [
        *(patch_table(config) if is_flexible(config) else pictures(config, bias=True)),
        *norm("vision_model.post_layernorm", "transformer/norm"),
        *(pool("vision_model.head", "pool", config) if has_head(config) else []),
    ]


def text_table(config: Any) -> Table:
    return [*words(config), *dense("text_model.head", "head")]


def vision_spec(config: Any) -> Spec:
    if is_flexible(config):
        return Spec(
            "siglip2_vision",
            positions=config.num_patches,
            head=has_head(config),
            **options(config),
        )
    sizes = {"image_size": config.image_size, "patch": config.patch_size}
    return Spec("siglip_vision", **sizes, head=has_head(config), **options(config))


def vision_inputs(config: Any) -> Inputs:
    if not is_flexible(config):
        return image_inputs(config)
    size = config.patch_size**2 * config.num_channels
    return {
        "pixel_values": np.zeros((1, 4, size), np.float32),
        "spatial_shapes": np.full((1, 2), 2, np.int32),
    }


def text_spec(config: Any) -> Spec:
    return Spec(
        "siglip_text",
        vocab_size=config.vocab_size,
        max_length=config.max_position_embeddings,
        projection_dim=config.projection_size,
        **options(config),
    )


def spec(config: Any, names: Names) -> Spec:
    towers = {"vision": vision_spec(config.vision_config), "text": text_spec(config.text_config)}
    return Spec("dual_tower", towers=towers, logit_scale=float(np.log(10)), logit_bias=-10.0)


def scalar(name: str) -> Table:
    return param(name, name, lambda value: value.reshape(()), lambda value: value.reshape(1))


def table(config: Any) -> Table:
    return [
        *below(vision_table(config.vision_config), ours="vision/"),
        *below(text_table(config.text_config), ours="text/"),
        *scalar("logit_scale"),
        *scalar("logit_bias"),
    ]


_JOINT = ("logit_scale", "logit_bias", r"classifier\..*")


def both(name: str) -> Family:
    kind = name.lower()
    return Family(
        spec=spec,
        table=table,
        inputs=lambda config: vision_inputs(config.vision_config) | text_inputs(config.text_config),
        saved_as=f"{name}Model",
        registry=encoders.towers,
        parts={"vision": f"{kind}_vision_model", "text": f"{kind}_text_model"},
    )


def vision(name: str) -> Family:
    return Family(
        spec=lambda config, names: vision_spec(config),
        table=vision_table,
        inputs=vision_inputs,
        saved_as=f"{name}VisionModel",
        left_out=(r"text_model\..*", *_JOINT),
        part_config="vision_config",
    )


def text(name: str) -> Family:
    return Family(
        spec=lambda config, names: text_spec(config),
        table=text_table,
        inputs=text_inputs,
        saved_as=f"{name}TextModel",
        left_out=(r"vision_model\..*", *_JOINT),
        part_config="text_config",
        config_class=f"{name}TextConfig",
    )


SIGLIP, SIGLIP_VISION, SIGLIP_TEXT = both("Siglip"), vision("Siglip"), text("Siglip")
SIGLIP2, SIGLIP2_VISION, SIGLIP2_TEXT = both("Siglip2"), vision("Siglip2"), text("Siglip2")
