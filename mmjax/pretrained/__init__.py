"""Hugging Face folders to modules and variables, and back.

- `load.py`, `save.py`: the two directions.
- `folder.py`: what lies in a folder; `safetensors.py`, `msgpack.py`: the two formats.
- `rules.py`: the lines that a family's table is made of; `match.py`: a table against a folder;
  `place.py`: arrays onto devices, a shard at a time.
- `families/`: one file a group of model types, each with its table.

To add a model type: a `Family` in a file of `families/`, a line in
`FAMILIES`, and a golden case in `tests/pretrained`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmjax.pretrained.family import Family

FAMILIES = {
    "albert": "albert:ALBERT",
    "audio-spectrogram-transformer": "spectrogram_transformer:SPECTROGRAM_TRANSFORMER",
    "bart": "bart:BART",
    "bart_encoder": "bart:BART_ENCODER",
    "blenderbot": "bart:BLENDERBOT",
    "blenderbot_encoder": "bart:BLENDERBOT_ENCODER",
    "blenderbot-small": "bart:BLENDERBOT_SMALL",
    "blenderbot-small_encoder": "bart:BLENDERBOT_SMALL_ENCODER",
    "m2m_100": "bart:M2M100",
    "m2m_100_encoder": "bart:M2M100_ENCODER",
    "marian": "bart:MARIAN",
    "marian_encoder": "bart:MARIAN_ENCODER",
    "mbart": "bart:MBART",
    "mbart_encoder": "bart:MBART_ENCODER",
    "pegasus": "bart:PEGASUS",
    "pegasus_encoder": "bart:PEGASUS_ENCODER",
    "plbart": "bart:PLBART",
    "plbart_encoder": "bart:PLBART_ENCODER",
    "beit": "beit:BEIT",
    "bert": "bert:BERT",
    "big_bird": "bert_like:BIG_BIRD",
    "bloom": "gpt_like:BLOOM",
    "bloom_encoder": "gpt_like:BLOOM_ENCODER",
    "camembert": "bert:CAMEMBERT",
    "clip": "clip:CLIP",
    "clip_text_model": "clip:CLIP_TEXT",
    "clip_vision_model": "clip:CLIP_VISION",
    "convnext": "convnext:CONVNEXT",
    "convnextv2": "convnext:CONVNEXT_V2",
    "data2vec-audio": "wav2vec2:DATA2VEC_AUDIO",
    "data2vec-audio_ctc": "wav2vec2:DATA2VEC_AUDIO_CTC",
    "data2vec-text": "bert_like:DATA2VEC_TEXT",
    "data2vec-vision": "beit:DATA2VEC_VISION",
    "deberta-v2": "deberta_v2:DEBERTA_V2",
    "deit": "vit:DEIT",
    "dinov2": "dinov2:DINOV2",
    "dinov2_with_registers": "dinov2:DINOV2_WITH_REGISTERS",
    "distilbert": "distilbert:DISTILBERT",
    "electra": "electra:ELECTRA",
    "encoder-decoder": "encoder_decoder:TEXT",
    "encoder-decoder_encoder": "encoder_decoder:ENCODER",
    "ernie": "bert_like:ERNIE",
    "gemma": "llama:GEMMA",
    "gemma_encoder": "llama:GEMMA_ENCODER",
    "gpt2": "gpt2:GPT2_LM",
    "gpt2_encoder": "gpt2:GPT2_ENCODER",
    "gpt_neo": "gpt_like:GPT_NEO",
    "gpt_neo_encoder": "gpt_like:GPT_NEO_ENCODER",
    "gpt_neox": "gpt_like:GPT_NEOX",
    "gpt_neox_encoder": "gpt_like:GPT_NEOX_ENCODER",
    "gptj": "gpt_like:GPTJ",
    "gptj_encoder": "gpt_like:GPTJ_ENCODER",
    "hubert": "wav2vec2:HUBERT",
    "hubert_ctc": "wav2vec2:HUBERT_CTC",
    "llama": "llama:LLAMA",
    "llama_encoder": "llama:LLAMA_ENCODER",
    "mistral": "llama:MISTRAL",
    "mistral_encoder": "llama:MISTRAL_ENCODER",
    "modernbert": "modernbert:MODERNBERT",
    "mpnet": "bert_like:MPNET",
    "mt5": "t5:MT5",
    "mt5_encoder": "t5:MT5_ENCODER",
    "opt": "opt:OPT",
    "opt_encoder": "opt:OPT_ENCODER",
    "qwen2": "llama:QWEN2",
    "qwen2_encoder": "llama:QWEN2_ENCODER",
    "qwen3": "llama:QWEN3",
    "qwen3_encoder": "llama:QWEN3_ENCODER",
    "regnet": "resnet:REGNET",
    "resnet": "resnet:RESNET",
    "roberta": "bert:ROBERTA",
    "roberta-prelayernorm": "bert_like:ROBERTA_PRELAYERNORM",
    "roformer": "bert_like:ROFORMER",
    "speech-encoder-decoder": "encoder_decoder:SPEECH",
    "speech-encoder-decoder_encoder": "encoder_decoder:ENCODER",
    "siglip": "siglip:SIGLIP",
    "siglip2": "siglip:SIGLIP2",
    "siglip2_text_model": "siglip:SIGLIP2_TEXT",
    "siglip2_vision_model": "siglip:SIGLIP2_VISION",
    "siglip_text_model": "siglip:SIGLIP_TEXT",
    "siglip_vision_model": "siglip:SIGLIP_VISION",
    "swin": "swin:SWIN",
    "t5": "t5:T5",
    "t5_encoder": "t5:T5_ENCODER",
    "timesformer": "video:TIMESFORMER",
    "umt5": "t5:UMT5",
    "umt5_encoder": "t5:UMT5_ENCODER",
    "unispeech": "wav2vec2:UNISPEECH",
    "unispeech-sat": "wav2vec2:UNISPEECH_SAT",
    "unispeech-sat_ctc": "wav2vec2:UNISPEECH_SAT_CTC",
    "unispeech_ctc": "wav2vec2:UNISPEECH_CTC",
    "videomae": "video:VIDEOMAE",
    "vision-encoder-decoder": "encoder_decoder:VISION",
    "vision-encoder-decoder_encoder": "encoder_decoder:ENCODER",
    "vision-text-dual-encoder": "vision_text:VISION_TEXT",
    "vision-text-dual-encoder_text": "vision_text:TEXT",
    "vision-text-dual-encoder_vision": "vision_text:VISION",
    "vit": "vit:VIT",
    "vit_mae": "vit:VIT_MAE",
    "vit_msn": "vit:VIT_MSN",
    "vivit": "video:VIVIT",
    "wav2vec2": "wav2vec2:WAV2VEC2",
    "wav2vec2_ctc": "wav2vec2:WAV2VEC2_CTC",
    "wavlm": "wavlm:WAVLM",
    "wavlm_ctc": "wavlm:WAVLM_CTC",
    "whisper": "whisper:WHISPER",
    "whisper_encoder": "whisper:WHISPER_ENCODER",
    "xglm": "opt:XGLM",
    "xglm_encoder": "opt:XGLM_ENCODER",
    "xlm-roberta": "bert:XLM_ROBERTA",
    "xlm-roberta-xl": "bert_like:XLM_ROBERTA_XL",
}
"""`model_type` of config.json, and the place of its `Family` below `families`."""


def find(model_type: str) -> Family:
    """The family of a known model type; imports its file."""
    module, _, name = FAMILIES[model_type].partition(":")
    return getattr(importlib.import_module(f"{__name__}.families.{module}"), name)
