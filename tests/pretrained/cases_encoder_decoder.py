"""Encoders before GPT-2: of pictures and waveforms, of padded text with another width."""

from __future__ import annotations

from typing import Any

import numpy as np
from cases_bert import BERT, IDS, MASK
from cases_causal import GPT2
from cases_speech import STABLE, WAVEFORM
from cases_vit import PIXELS, VIT
from make_goldens import Case, channels_last

DECODER = {
    "decoder_input_ids": IDS[::-1, :5].copy(),
    "decoder_attention_mask": np.ones((3, 5), np.int64),
}
OUTPUTS = {
    "logits": "logits",
    "values": lambda output: output.decoder_hidden_states[-1],
}
ENCODER = {"encoder": "encoder_last_hidden_state"}
CALL = {"output_hidden_states": True, "use_cache": False}


def pair(config: dict[str, Any]) -> Any:
    """The joint config of an encoder's and a decoder's."""
    import transformers

    encoder, decoder = (transformers.CONFIG_MAPPING[kind] for kind, _ in config["sides"])
    cls = getattr(transformers, config["cls"])
    (_, first), (_, second) = config["sides"]
    return cls.from_encoder_decoder_configs(encoder(**first), decoder(**second))


TROCR: dict[str, Any] = {
    "vocab_size": 50,
    "d_model": 16,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 12,
}


def _pictures(config: Any) -> dict[str, np.ndarray]:
    words = {name: array[:2] for name, array in DECODER.items()}
    return {"pixel_values": PIXELS, **words}


CASES = {
    "vision-encoder-decoder_trocr": Case(
        "VisionEncoderDecoderModel",
        {
            "cls": "VisionEncoderDecoderConfig",
            "sides": [
                ("vit", VIT),
                (
                    "trocr",
                    {
                        **TROCR,
                        "cross_attention_hidden_size": VIT["hidden_size"],
                        "scale_embedding": True,
                    },
                ),
            ],
        },
        _pictures,
        {**OUTPUTS, **ENCODER},
        ours=channels_last,
        call=CALL,
        make_config=pair,
    ),
    "vision-encoder-decoder_trocr_fixed": Case(
        "VisionEncoderDecoderModel",
        {
            "cls": "VisionEncoderDecoderConfig",
            "sides": [
                ("vit", VIT),
                (
                    "trocr",
                    {
                        **TROCR,
                        "use_learned_position_embeddings": False,
                        "layernorm_embedding": False,
                        "activation_function": "relu",
                        "tie_word_embeddings": False,
                    },
                ),
            ],
        },
        _pictures,
        {**OUTPUTS, **ENCODER},
        ours=channels_last,
        call=CALL,
        make_config=pair,
    ),
    "vision-encoder-decoder": Case(
        "VisionEncoderDecoderModel",
        {"cls": "VisionEncoderDecoderConfig", "sides": [("vit", VIT), ("gpt2", GPT2)]},
        lambda config: {
            "pixel_values": PIXELS,
            **{name: array[:2] for name, array in DECODER.items()},
        },
        {**OUTPUTS, **ENCODER},
        ours=channels_last,
        call=CALL,
        make_config=pair,
    ),
    "speech-encoder-decoder": Case(
        "SpeechEncoderDecoderModel",
        {"cls": "SpeechEncoderDecoderConfig", "sides": [("wav2vec2", STABLE), ("gpt2", GPT2)]},
        lambda config: {**WAVEFORM, **DECODER},
        OUTPUTS,
        call=CALL,
        make_config=pair,
    ),
    "encoder-decoder": Case(
        "EncoderDecoderModel",
        {
            "cls": "EncoderDecoderConfig",
            "sides": [
                ("bert", {**BERT, "hidden_size": 18}),
                ("gpt2", {**GPT2, "tie_word_embeddings": False}),
            ],
        },
        lambda config: {"input_ids": IDS, "attention_mask": MASK, **DECODER},
        {**OUTPUTS, **ENCODER},
        call=CALL,
        make_config=pair,
    ),
}
