"""CLIP: both towers, and each alone."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Inputs, Names, activation, image_inputs, text_inputs
from mmjax.pretrained.rules import Table, attention, dense, embedding, norm, param, patches

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


def below(table: Table, theirs: str = "", ours: str = "") -> Table:
    """A table with what stands before its names; `ours` goes behind the collection."""
    found = []
    for leaf in table:
        collection, _, path = leaf.ours.partition("/")
        found.append(
            dataclasses.replace(
                leaf, theirs=theirs + leaf.theirs, ours=f"{collection}/{ours}{path}"
            )
        )
    return found


def layers(theirs: str, config: Any) -> Table:
    """The blocks, in the names that CLIP and SigLIP share."""
    table: Table = []
    for i in range(config.num_hidden_layers):
        layer, ours = f"{theirs}.encoder.layers.{i}", f"transformer/stack/layer_{i}"
        table += norm(f"{layer}.layer_norm1", f"{ours}/attention_norm")
        table += attention(
            f"{layer}.self_attn",
            f"{ours}/attention",
            config.num_attention_heads,
            names=PROJECTIONS,
        )
        table += norm(f"{layer}.layer_norm2", f"{ours}/mlp_norm")
        table += dense(f"{layer}.mlp.fc1", f"{ours}/mlp/up")
        table += dense(f"{layer}.mlp.fc2", f"{ours}/mlp/down")
    return table


def words(config: Any) -> Table:
    return [
        *embedding("text_model.embeddings.token_embedding", "words"),
        *embedding("text_model.embeddings.position_embedding", "positions"),
        *layers("text_model", config),
        *norm("text_model.final_layer_norm", "transformer/norm"),
    ]


def pictures(config: Any, *, bias: bool) -> Table:
    size = (config.patch_size, config.patch_size)
    embeddings = "vision_model.embeddings"
    return [
        *patches(f"{embeddings}.patch_embedding", "patches/projection", size, bias=bias),
        *param(f"{embeddings}.position_embedding.weight", "positions"),
        *layers("vision_model", config),
    ]


def vision_table(config: Any) -> Table:
    return [
        *pictures(config, bias=False),
        *param("vision_model.embeddings.class_embedding", "class_token"),
        *norm("vision_model.pre_layrnorm", "embeddings_norm"),
        *norm("vision_model.post_layernorm", "pooled_norm"),
    ]


def options(config: Any) -> dict[str, Any]:
    """What a tower's config says of its blocks."""
    return {
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "activation": activation(config.hidden_act),
        "eps": config.layer_norm_eps,
        "attention_dropout": config.attention_dropout,
    }


def vision_spec(config: Any) -> Spec:
    sizes = {"image_size": config.image_size, "patch": config.patch_size}
    return Spec("clip_vision", **sizes, **options(config))


def text_spec(config: Any) -> Spec:
    # Configs before transformers 4.31 say 2, whatever the vocabulary's end of text is.
    legacy = config.eos_token_id == 2
    return Spec(
        "clip_text",
        vocab_size=config.vocab_size,
        max_length=config.max_position_embeddings,
        end_id=config.eos_token_id,
        pooling="highest" if legacy else "end",
        **options(config),
    )


def spec(config: Any, names: Names) -> Spec:
    return Spec(
        "dual_tower",
        towers={"vision": vision_spec(config.vision_config), "text": text_spec(config.text_config)},
        projection_dim=config.projection_dim,
        logit_scale=config.logit_scale_init_value,
    )


def table(config: Any) -> Table:
    return [
        *below(vision_table(config.vision_config), ours="vision/"),
        *below(words(config.text_config), ours="text/"),
        *dense("visual_projection", "vision_projection", bias=False),
        *dense("text_projection", "text_projection", bias=False),
        *param("logit_scale", "logit_scale"),
    ]


def both_inputs(config: Any) -> Inputs:
    return {**image_inputs(config.vision_config), **text_inputs(config.text_config)}


_JOINT = (r"(visual|text)_projection\.weight", "logit_scale", r"classifier\..*")

CLIP = Family(
    spec=spec,
    table=table,
    inputs=both_inputs,
    saved_as="CLIPModel",
    registry=encoders.towers,
    parts={"vision": "clip_vision_model", "text": "clip_text_model"},
)
CLIP_VISION = Family(
    spec=lambda config, names: vision_spec(config),
    table=vision_table,
    inputs=image_inputs,
    saved_as="CLIPVisionModel",
    left_out=(r"text_model\..*", *_JOINT),
    part_config="vision_config",
)
CLIP_TEXT = Family(
    spec=lambda config, names: text_spec(config),
    table=words,
    inputs=text_inputs,
    saved_as="CLIPTextModel",
    left_out=(r"vision_model\..*", *_JOINT),
    part_config="text_config",
)
