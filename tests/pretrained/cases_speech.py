"""Speech encoders on waveforms: lengths that are no multiple of the stride, rows of one frame."""

from __future__ import annotations

import numpy as np
from make_goldens import Case

SAMPLES = np.random.RandomState(2).standard_normal((3, 103)).astype(np.float32)
LENGTHS = np.array([103, 58, 20])
"""The last is one frame of the convolutions below."""
MASK = (np.arange(103) < LENGTHS[:, None]).astype(np.int64)
WAVEFORM = {"input_values": np.where(MASK, SAMPLES, 0).astype(np.float32), "attention_mask": MASK}

SPEECH = {
    "vocab_size": 11,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "conv_dim": [16, 16, 20],
    "conv_kernel": [7, 3, 2],
    "conv_stride": [3, 2, 2],
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 4,
}
STABLE = {
    **SPEECH,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "layer_norm_eps": 1e-3,
    "hidden_act": "gelu_new",
    "feat_extract_activation": "relu",
    "num_conv_pos_embeddings": 5,
}
VALUES = {"values": "last_hidden_state"}


def hidden_frames(config) -> dict[str, np.ndarray]:
    """Frames that are hidden by name, as a model in pretraining sees them."""
    frames = 8
    hidden = np.zeros((3, frames), bool)
    hidden[0, 2:4] = True
    hidden[1, 0] = True
    return {**WAVEFORM, "mask_time_indices": hidden}


CASES = {
    "wav2vec2": Case(
        "Wav2Vec2Model",
        SPEECH,
        lambda config: WAVEFORM,
        VALUES,
        gradients=(
            "feature_extractor.conv_layers.0.conv.weight",
            "feature_extractor.conv_layers.0.layer_norm.weight",
            "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
            "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
            "encoder.layers.1.attention.k_proj.weight",
        ),
    ),
    "wav2vec2_stable": Case("Wav2Vec2Model", STABLE, hidden_frames, VALUES),
    "wav2vec2_adapter": Case(
        "Wav2Vec2Model",
        {
            **SPEECH,
            "feat_extract_norm": "layer",
            "add_adapter": True,
            "num_adapter_layers": 2,
            "output_hidden_size": 16,
            "mask_time_prob": 0.0,
        },
        lambda config: WAVEFORM,
        VALUES,
    ),
    "hubert": Case(
        "HubertModel",
        {**SPEECH, "feat_proj_layer_norm": False, "hidden_act": "relu", "conv_bias": True},
        lambda config: WAVEFORM,
        VALUES,
    ),
    "hubert_stable": Case(
        "HubertModel",
        {**STABLE, "conv_pos_batch_norm": True},
        lambda config: WAVEFORM,
        VALUES,
    ),
    "unispeech": Case("UniSpeechModel", SPEECH, hidden_frames, VALUES),
    "unispeech-sat": Case(
        "UniSpeechSatModel", {**STABLE, "mask_time_prob": 0.0}, lambda config: WAVEFORM, VALUES
    ),
    "data2vec-audio": Case(
        "Data2VecAudioModel",
        {
            **SPEECH,
            "conv_pos_kernel_size": 5,
            "num_conv_pos_embeddings": 2,
            "layer_norm_eps": 1e-3,
        },
        lambda config: WAVEFORM,
        VALUES,
    ),
    "wavlm": Case(
        "WavLMModel",
        {**SPEECH, "num_buckets": 8, "max_bucket_distance": 6},
        lambda config: WAVEFORM,
        VALUES,
        gradients=(
            "encoder.layers.0.attention.rel_attn_embed.weight",
            "encoder.layers.1.attention.gru_rel_pos_const",
            "encoder.layers.1.attention.gru_rel_pos_linear.weight",
        ),
    ),
    "wavlm_stable": Case("WavLMModel", {**STABLE, "num_buckets": 10}, hidden_frames, VALUES),
    "wav2vec2_ctc": Case(
        "Wav2Vec2ForCTC",
        {**STABLE, "adapter_attn_dim": 6},
        lambda config: WAVEFORM,
        {"logits": "logits"},
        options={"part": "ctc"},
    ),
    "hubert_ctc": Case(
        "HubertForCTC",
        {**SPEECH, "feat_extract_norm": "layer", "conv_pos_batch_norm": True},
        lambda config: WAVEFORM,
        {"logits": "logits"},
        options={"part": "ctc"},
    ),
}
