"""BART and its kin: one layout, with positions and norms of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.encoders.seq2seq import EmbeddingsNorm, Positions
from mmjax.nn.positions import sinusoid_table
from mmjax.nn.transformer import Norm
from mmjax.pretrained.family import Family, Inputs, Names, activation, only, text_inputs
from mmjax.pretrained.rules import Table, attention, dense, embedding, norm, param

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
HEADS = (r"classification_head\..*", r"qa_outputs\..*")
IGNORED = (r".*\bembed_positions\.weights?", r".*\bembed_positions\._float_tensor", r".*\bversion")
"""What follows from the config, where a table has no place for it."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """What tells one family of this layout from another."""

    saved_as: str
    norm: Norm = "post"
    positions: Positions = "learned"
    position_offset: int = 2
    counts_padding: bool = True
    """Whether positions go on over padding; where not, they follow `pad_token_id`."""
    embeddings_norm: EmbeddingsNorm = "sum"
    decoder_embeddings_norm: EmbeddingsNorm | None = None
    scales_decoder: bool = True
    """Whether `scale_embedding` is for the decoder too."""
    logits_bias: bool = True


def block(theirs: str, ours: str, heads: int, *, cross: bool, bias: Any = True) -> Table:
    """One layer; `cross` is a decoder's, `bias` the attention's as in `rules.attention`."""
    table = [
        *attention(f"{theirs}.self_attn", f"{ours}/attention", heads, names=PROJECTIONS, bias=bias),
        *norm(f"{theirs}.self_attn_layer_norm", f"{ours}/attention_norm"),
        *dense(f"{theirs}.fc1", f"{ours}/mlp/up"),
        *dense(f"{theirs}.fc2", f"{ours}/mlp/down"),
        *norm(f"{theirs}.final_layer_norm", f"{ours}/mlp_norm"),
    ]
    if cross:
        table += attention(
            f"{theirs}.encoder_attn", f"{ours}/cross_attention", heads, names=PROJECTIONS, bias=bias
        )
        table += norm(f"{theirs}.encoder_attn_layer_norm", f"{ours}/cross_attention_norm")
    return table


def side(theirs: str, ours: str, kind: Kind, *, depth: int, heads: int, cross: bool) -> Table:
    """Positions, norms and layers of one side; `theirs` and `ours` end with their separators."""
    table: Table = []
    if kind.positions in ("learned", "frozen"):
        table += param(f"{theirs}embed_positions.weight", f"{ours}positions")
    if kind.embeddings_norm != "none":
        table += norm(f"{theirs}layernorm_embedding", f"{ours}embeddings_norm")
    if kind.norm == "pre":
        table += norm(f"{theirs}layer_norm", f"{ours}transformer/norm")
    for i in range(depth):
        stack = f"{ours}transformer/stack/layer_{i}"
        table += block(f"{theirs}layers.{i}", stack, heads, cross=cross)
    return table


def encoder_table(config: Any, kind: Kind) -> Table:
    """In the spelling of the torch encoder alone."""
    return [
        *embedding("embed_tokens", "words"),
        *side("", "", kind, **_encoder(config), cross=False),
    ]


def table(config: Any, kind: Kind) -> Table:
    shared = getattr(config, "share_encoder_decoder_embeddings", True)
    words = embedding("model.shared", "encoder/words")
    if not shared:
        words = [
            *embedding("model.encoder.embed_tokens", "encoder/words"),
            *embedding("model.decoder.embed_tokens", "decoder_words"),
        ]
    found = [
        *words,
        *side("model.encoder.", "encoder/", kind, **_encoder(config), cross=False),
        *side("model.decoder.", "decoder/", kind, **_decoder(config), cross=True),
    ]
    if not config.tie_word_embeddings:
        found += dense("lm_head", "head", bias=False)
    if kind.logits_bias:
        found += param("final_logits_bias", "head_bias", lambda b: b[0], lambda b: b[None])
    return found


def aliases(config: Any) -> Mapping[str, str]:
    sides = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
    if getattr(config, "share_encoder_decoder_embeddings", True):
        found = dict.fromkeys(sides, "model.shared.weight")
    else:
        found = {"model.shared.weight": sides[0]}
    if config.tie_word_embeddings:
        found["lm_head.weight"] = found.get(sides[1], sides[1])
    return found


def _encoder(config: Any) -> dict[str, int]:
    return {"depth": config.encoder_layers, "heads": config.encoder_attention_heads}


def _decoder(config: Any) -> dict[str, int]:
    return {"depth": config.decoder_layers, "heads": config.decoder_attention_heads}


def constants(config: Any, kind: Kind) -> Mapping[str, np.ndarray]:
    """Fixed positions that torch saves, for modules that compute them."""
    if kind.positions != "frozen":
        return {}
    fixed = sinusoid_table(config.max_position_embeddings, config.d_model, layout="halves")
    sides = ("encoder", "decoder")
    return {f"model.{name}.embed_positions.weight": fixed for name in sides}


def encoder_options(config: Any, names: Names, kind: Kind) -> dict[str, Any]:
    positions = kind.positions
    if positions == "frozen" and not any("embed_positions" in name for name in names):
        positions = "sinusoidal"  # Flax and old torch folders have no table of them
    offset = kind.position_offset if kind.counts_padding else config.pad_token_id + 1
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "width": config.d_model,
        **_encoder(config),
        "mlp_dim": config.encoder_ffn_dim,
        "norm": kind.norm,
        "positions": positions,
        "position_offset": offset,
        "embeddings_norm": kind.embeddings_norm,
        "padding_id": None if kind.counts_padding else config.pad_token_id,
        "words_scale": config.d_model**0.5 if config.scale_embedding else 1.0,
        "activation": activation(config.activation_function, "activation_function"),
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "mlp_dropout": config.activation_dropout,
        "layer_drop": config.encoder_layerdrop,
    }


def options(config: Any, names: Names, kind: Kind) -> dict[str, Any]:
    shared = getattr(config, "share_encoder_decoder_embeddings", True)
    only(config, tie_encoder_decoder=False)
    if shared:  # transformers itself does not load what it saves of these
        only(config, tie_word_embeddings=True)
    return {
        **encoder_options(config, names, kind),
        "decoder_vocab_size": None if shared else config.decoder_vocab_size,
        "decoder_depth": config.decoder_layers,
        "decoder_heads": config.decoder_attention_heads,
        "decoder_mlp_dim": config.decoder_ffn_dim,
        "decoder_embeddings_norm": kind.decoder_embeddings_norm,
        "decoder_layer_drop": config.decoder_layerdrop,
        "decoder_words_scale": None if kind.scales_decoder else 1.0,
        "tied": config.tie_word_embeddings,
        "logits_bias": kind.logits_bias and "final_logits_bias" in names,
    }


def seq2seq_inputs(config: Any) -> Inputs:
    """Two tokens on each side."""
    return {**text_inputs(config), "decoder_input_ids": np.ones((1, 2), np.int32)}


def whole(kind: Kind, part: str) -> Family:
    return Family(
        spec=lambda config, names: Spec("bart", **options(config, names, kind)),
        table=lambda config: table(config, kind),
        inputs=seq2seq_inputs,
        saved_as=kind.saved_as,
        registry=encoders.decoders,
        prefix="model.",
        left_out=HEADS,
        ignored=IGNORED,
        aliases=aliases,
        constants=lambda config: constants(config, kind),
        parts={"encoder": part},
    )


def encoder(kind: Kind) -> Family:
    """The encoder alone, out of a folder of the whole."""
    name = kind.saved_as.removesuffix("ForConditionalGeneration").removesuffix("MTModel")
    return Family(
        spec=lambda config, names: Spec("bart_encoder", **encoder_options(config, names, kind)),
        table=lambda config: encoder_table(config, kind),
        inputs=text_inputs,
        saved_as=f"{name}Encoder",
        renames=(
            (r"^(model\.)?shared\.weight$", "embed_tokens.weight"),
            (r"^(model\.)?encoder\.", ""),
        ),
        left_out=(r"(model\.)?decoder\..*", "final_logits_bias", r"lm_head\.weight", *HEADS),
        ignored=IGNORED,
    )


_BART = Kind("BartForConditionalGeneration")
_PLBART = Kind("PLBartForConditionalGeneration")
_MBART = Kind("MBartForConditionalGeneration", norm="pre")
_MARIAN = Kind("MarianMTModel", positions="sinusoidal", position_offset=0, embeddings_norm="none")
_PEGASUS = Kind(
    "PegasusForConditionalGeneration",
    norm="pre",
    positions="frozen",
    position_offset=0,
    embeddings_norm="none",
)
_BLENDERBOT = Kind(
    "BlenderbotForConditionalGeneration", norm="pre", position_offset=0, embeddings_norm="none"
)
_BLENDERBOT_SMALL = Kind(
    "BlenderbotSmallForConditionalGeneration",
    position_offset=0,
    decoder_embeddings_norm="words",
    scales_decoder=False,
)
_M2M100 = Kind(
    "M2M100ForConditionalGeneration",
    norm="pre",
    positions="tensor2tensor",
    counts_padding=False,
    embeddings_norm="none",
    logits_bias=False,
)

BART = whole(_BART, "bart_encoder")
BART_ENCODER = encoder(_BART)
PLBART = whole(_PLBART, "plbart_encoder")
PLBART_ENCODER = encoder(_PLBART)
MBART = whole(_MBART, "mbart_encoder")
MBART_ENCODER = encoder(_MBART)
MARIAN = whole(_MARIAN, "marian_encoder")
MARIAN_ENCODER = encoder(_MARIAN)
PEGASUS = whole(_PEGASUS, "pegasus_encoder")
PEGASUS_ENCODER = encoder(_PEGASUS)
BLENDERBOT = whole(_BLENDERBOT, "blenderbot_encoder")
BLENDERBOT_ENCODER = encoder(_BLENDERBOT)
BLENDERBOT_SMALL = whole(_BLENDERBOT_SMALL, "blenderbot-small_encoder")
BLENDERBOT_SMALL_ENCODER = encoder(_BLENDERBOT_SMALL)
M2M100 = whole(_M2M100, "m2m_100_encoder")
M2M100_ENCODER = encoder(_M2M100)
