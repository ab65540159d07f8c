"""wav2vec 2.0, and HuBERT, UniSpeech and data2vec, which are it with other settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.encoders.speech_frames import receptive_field
from mmjax.pretrained.families.clip import below
from mmjax.pretrained.family import Family, Inputs, Names, activation
from mmjax.pretrained.rules import Table, attention, batch_norm, conv, dense, norm, param, reshaped

_POSITIONS = "encoder.pos_conv_embed.conv"
_WITH_ADAPTERS = ("wav2vec2", "wavlm", "data2vec-audio")
_HEADS = (
    r"lm_head\..*",
    r"quantizer\..*",
    r"project_(q|hid)\..*",
    r"(projector|classifier|tdnn|objective)\..*",
    r"layer_weights",
)
_UNUSED = (r"(.*\.)?masked_spec_embed", r".*num_batches_tracked")
"""What only a config that hides frames, or torch's batch normalisation, has a use for."""


def frames(config: Any) -> Table:
    """Convolutions of the waveform, and the projection of the frames."""
    table: Table = []
    for i in range(len(config.conv_dim)):
        theirs = f"feature_extractor.conv_layers.{i}"
        table += conv(f"{theirs}.conv", f"frames/conv_{i}", bias=config.conv_bias)
        if i == 0 or _conv_norm(config) == "layer":
            table += norm(f"{theirs}.layer_norm", f"frames/norm_{i}")
    if getattr(config, "feat_proj_layer_norm", True):
        table += norm("feature_projection.layer_norm", "project_norm")
    return [*table, *dense("feature_projection.projection", "project")]


def positions(config: Any) -> Table:
    if config.model_type == "data2vec-audio":
        return [
            leaf
            for i in range(config.num_conv_pos_embeddings)
            for leaf in conv(f"encoder.pos_conv_embed.layers.{i}.conv", f"positions/conv_{i}")
        ]
    if getattr(config, "conv_pos_batch_norm", False):
        return [
            *batch_norm("encoder.pos_conv_embed.batch_norm", "positions/norm"),
            *conv(_POSITIONS, "positions/conv_0"),
        ]
    weight = f"{_POSITIONS}.parametrizations.weight"
    return [
        *reshaped(f"{weight}.original0", "positions/conv_0/gain", (-1,), (1, 1, -1)),
        *param(
            f"{weight}.original1",
            "positions/conv_0/direction",
            lambda w: np.moveaxis(w, (0, 1), (-1, -2)),
            lambda w: np.moveaxis(w, (-1, -2), (0, 1)),
        ),
        *param(f"{_POSITIONS}.bias", "positions/conv_0/bias"),
    ]


def block(theirs: str, ours: str, config: Any) -> Table:
    """One layer, in the names that all of these share."""
    table = [
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            config.num_attention_heads,
            names=("q_proj", "k_proj", "v_proj", "out_proj"),
        ),
        *norm(f"{theirs}.layer_norm", f"{ours}/attention_norm"),
        *dense(f"{theirs}.feed_forward.intermediate_dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.feed_forward.output_dense", f"{ours}/mlp/down"),
        *norm(f"{theirs}.final_layer_norm", f"{ours}/mlp_norm"),
    ]
    if _attention_adapter(config):
        table += norm(f"{theirs}.adapter_layer.norm", f"{ours}/adapter_norm")
        table += dense(f"{theirs}.adapter_layer.linear_1", f"{ours}/adapter/up")
        table += dense(f"{theirs}.adapter_layer.linear_2", f"{ours}/adapter/down")
    return table


def adapter(config: Any) -> Table:
    """The convolutions behind the blocks."""
    if not _has_adapter(config):
        return []
    table: Table = []
    if config.output_hidden_size != config.hidden_size:
        table += dense("adapter.proj", "adapter_project")
        table += norm("adapter.proj_layer_norm", "adapter_norm")
    for i in range(config.num_adapter_layers):
        table += conv(f"adapter.layers.{i}.conv", f"adapter_{i}")
    return table


def table(config: Any) -> Table:
    return [
        *frames(config),
        *(param("masked_spec_embed", "mask_embedding") if _has_mask(config) else []),
        *positions(config),
        *norm(
            "encoder.layer_norm", "transformer/norm" if _is_stable(config) else "embeddings_norm"
        ),
        *(
            leaf
            for i in range(config.num_hidden_layers)
            for leaf in block(f"encoder.layers.{i}", f"transformer/stack/layer_{i}", config)
        ),
        *adapter(config),
    ]


def options(config: Any, names: Names) -> dict[str, Any]:
    """What a config in the shape of wav2vec 2.0's says.

    Without weights for hidden frames (many folders lack them), those become 0.
    """
    masks = getattr(config, "apply_spec_augment", True)
    found = {
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "norm": "pre" if _is_stable(config) else "post",
        "activation": activation(config.hidden_act),
        "eps": float(config.layer_norm_eps),
        "dropout": float(config.hidden_dropout),
        "attention_dropout": float(config.attention_dropout),
        "mlp_dropout": float(config.activation_dropout),
        "layer_drop": float(config.layerdrop),
        "conv_channels": tuple(config.conv_dim),
        "conv_kernels": tuple(config.conv_kernel),
        "conv_strides": tuple(config.conv_stride),
        "conv_norm": _conv_norm(config),
        "conv_bias": bool(config.conv_bias),
        "conv_activation": activation(config.feat_extract_activation, "feat_extract_activation"),
        "project_norm": bool(getattr(config, "feat_proj_layer_norm", True)),
        "project_dropout": float(config.feat_proj_dropout),
        "position_groups": config.num_conv_pos_embedding_groups,
        "mask_embedding": _has_mask(config) and "masked_spec_embed" in names,
        "mask_time_rate": float(config.mask_time_prob) if masks else 0.0,
        "mask_time_span": config.mask_time_length,
        "mask_time_least": config.mask_time_min_masks,
        "mask_feature_rate": float(config.mask_feature_prob) if masks else 0.0,
        "mask_feature_span": config.mask_feature_length,
        "mask_feature_least": getattr(config, "mask_feature_min_masks", 0),
        "attention_adapter": _attention_adapter(config),
        **_position_options(config),
    }
    if _has_adapter(config):
        found |= {
            "adapter_layers": config.num_adapter_layers,
            "adapter_width": config.output_hidden_size,
            "adapter_kernel": config.adapter_kernel_size,
            "adapter_stride": config.adapter_stride,
        }
    return found


def _position_options(config: Any) -> dict[str, Any]:
    if config.model_type == "data2vec-audio":
        return {
            "position_norm": "layer",
            "position_kernel": config.conv_pos_kernel_size,
            "position_depth": config.num_conv_pos_embeddings,
        }
    return {
        "position_norm": "batch" if getattr(config, "conv_pos_batch_norm", False) else "weight",
        "position_kernel": config.num_conv_pos_embeddings,
    }


def _is_stable(config: Any) -> bool:
    return config.model_type != "data2vec-audio" and config.do_stable_layer_norm


def _has_adapter(config: Any) -> bool:
    return config.model_type in _WITH_ADAPTERS and config.add_adapter


def _attention_adapter(config: Any) -> int:
    """The width of the small layers in the blocks, which only blocks that normalise first have."""
    width = getattr(config, "adapter_attn_dim", None) if config.model_type == "wav2vec2" else None
    return width if width is not None and _is_stable(config) else 0


def _conv_norm(config: Any) -> str:
    return "layer" if config.model_type == "data2vec-audio" else config.feat_extract_norm


def _has_mask(config: Any) -> bool:
    """Whether the torch class has a vector for hidden frames."""
    always = config.model_type == "unispeech-sat"
    return always or config.mask_time_prob > 0 or config.mask_feature_prob > 0


def waveform_inputs(config: Any) -> Inputs:
    """The samples of one frame."""
    samples = receptive_field(config.conv_kernel, config.conv_stride)
    return {
        "input_values": np.zeros((1, samples), np.float32),
        "attention_mask": np.ones((1, samples), bool),
    }


def _wav2vec2(config: Any, names: Names) -> Spec:
    return Spec("wav2vec2", **options(config, names))


def _counters(config: Any) -> dict[str, np.ndarray]:
    """What torch's batch normalisation counts, which nothing here reads."""
    if not config.conv_pos_batch_norm:
        return {}
    return {"encoder.pos_conv_embed.batch_norm.num_batches_tracked": np.zeros((), np.int64)}


WAV2VEC2 = Family(
    spec=_wav2vec2,
    table=table,
    inputs=waveform_inputs,
    saved_as="Wav2Vec2Model",
    prefix="wav2vec2.",
    left_out=_HEADS,
    ignored=_UNUSED,
    renames=(
        (r"\.conv\.weight_g$", ".conv.parametrizations.weight.original0"),
        (r"\.conv\.weight_v$", ".conv.parametrizations.weight.original1"),
    ),
    parts={"ctc": "wav2vec2_ctc"},
)


def like(name: str, saved_as: str, **changes: Any) -> Family:
    """A family in the shape of wav2vec 2.0's; `name` is that of its attribute in torch."""
    parts = {"ctc": f"{changes.pop('model_type', name)}_ctc"}
    return dataclasses.replace(
        WAV2VEC2, saved_as=saved_as, prefix=f"{name}.", parts=parts, **changes
    )


HUBERT = like("hubert", "HubertModel", constants=_counters)
UNISPEECH = like("unispeech", "UniSpeechModel")
UNISPEECH_SAT = like("unispeech_sat", "UniSpeechSatModel", model_type="unispeech-sat")
DATA2VEC_AUDIO = like("data2vec_audio", "Data2VecAudioModel", model_type="data2vec-audio")


def ctc(base: Family) -> Family:
    """The base with a head for each frame, as folders of speech recognition have it."""

    def spec(config: Any, names: Names) -> Spec:
        inner = base.spec(config, frozenset(name.removeprefix(base.prefix) for name in names))
        return Spec(
            "ctc", tower=inner, vocab_size=config.vocab_size, dropout=float(config.final_dropout)
        )

    return dataclasses.replace(
        base,
        spec=spec,
        table=lambda config: [
            *below(base.table(config), theirs=base.prefix, ours="encoder/"),
            *dense("lm_head", "head"),
        ],
        constants=lambda config: {
            base.prefix + name: array for name, array in base.constants(config).items()
        },
        saved_as=base.saved_as.removesuffix("Model") + "ForCTC",
        registry=encoders.decoders,
        left_out=(),
        parts={},
    )


WAV2VEC2_CTC = ctc(WAV2VEC2)
HUBERT_CTC = ctc(HUBERT)
UNISPEECH_CTC = ctc(UNISPEECH)
UNISPEECH_SAT_CTC = ctc(UNISPEECH_SAT)
DATA2VEC_AUDIO_CTC = ctc(DATA2VEC_AUDIO)
