"""From one modality's fields to `Tokens`: one file a family.

An encoder is a Linen module called as `encoder(**fields, train=...)`, where the fields are those of
its modality's processor. It returns `Tokens` in its own width and knows nothing of presence or
fusion. Facts of the data (vocabulary size, image size) are fields made with `fact()`.

To add one: a file with the module, and a line below.
"""

from __future__ import annotations

from typing import Annotated, Any

from mmjax.core.registry import Registry, Spec

registry = Registry(
    "encoder",
    {
        "text_transformer": "mmjax.encoders.text_transformer:TextTransformer",
        "bert_base": "mmjax.encoders.text_transformer:BertBase",
        "albert": "mmjax.encoders.albert:Albert",
        "bag_of_subwords": "mmjax.encoders.bag_of_subwords:BagOfSubwords",
        "vit": "mmjax.encoders.vit:ViT",
        "vit_base": "mmjax.encoders.vit:ViTBase",
        "beit": "mmjax.encoders.beit:BEiT",
        "resnet": "mmjax.encoders.resnet:ResNet",
        "regnet": "mmjax.encoders.resnet:RegNet",
        "convnext": "mmjax.encoders.convnext:ConvNeXt",
        "swin": "mmjax.encoders.swin:Swin",
        "video_transformer": "mmjax.encoders.video_transformer:VideoTransformer",
        "videomae": "mmjax.encoders.video_transformer:VideoMAE",
        "vivit": "mmjax.encoders.video_transformer:ViViT",
        "timesformer": "mmjax.encoders.timesformer:TimeSformer",
        "wav2vec2": "mmjax.encoders.wav2vec2:Wav2Vec2",
        "wav2vec2_base": "mmjax.encoders.wav2vec2:Wav2Vec2Base",
        "wavlm": "mmjax.encoders.wavlm:WavLM",
        "spectrogram_transformer": "mmjax.encoders.spectrogram_transformer:SpectrogramTransformer",
        "spectrogram_transformer_base": (
            "mmjax.encoders.spectrogram_transformer:SpectrogramTransformerBase"
        ),
        "whisper_encoder": "mmjax.encoders.whisper:WhisperEncoder",
        "frames": "mmjax.encoders.frames:Frames",
        "volume_cnn": "mmjax.encoders.volume_cnn:VolumeCNN",
        "volume_transformer": "mmjax.encoders.volume_transformer:VolumeTransformer",
        "time_series": "mmjax.encoders.time_series:TimeSeries",
        "point_set": "mmjax.encoders.point_set:PointSet",
        "item_sequence": "mmjax.encoders.item_sequence:ItemSequence",
        "positions": "mmjax.encoders.positions:Positions",
        "table_mlp": "mmjax.encoders.table_mlp:TableMLP",
        "ft_transformer": "mmjax.encoders.table:FTTransformer",
        "image_cnn": "mmjax.encoders.image_cnn:ImageCNN",
        "audio_cnn": "mmjax.encoders.audio_cnn:AudioCNN",
        "conv1d": "mmjax.encoders.conv1d:Conv1D",
        "stream_rnn": "mmjax.encoders.recurrent:StreamRNN",
        "text_rnn": "mmjax.encoders.recurrent:TextRNN",
        "deberta": "mmjax.encoders.deberta:Deberta",
        "modernbert": "mmjax.encoders.modernbert:ModernBert",
        "mpnet": "mmjax.encoders.mpnet:MPNet",
        "roformer": "mmjax.encoders.roformer:RoFormer",
        "causal_encoder": "mmjax.encoders.causal_lm:CausalEncoder",
        "text_windows": "mmjax.encoders.text_windows:TextWindows",
        "coca_text": "mmjax.encoders.coca:CocaText",
        "attention_pool": "mmjax.encoders.attention_pool:AttentionPooled",
        "table": "mmjax.encoders.table:TableEncoder",
        "bart_encoder": "mmjax.encoders.bart:BartEncoder",
        "t5_encoder": "mmjax.encoders.t5:T5Encoder",
        "clip_vision": "mmjax.encoders.clip:ClipVision",
        "clip_text": "mmjax.encoders.clip:ClipText",
        "siglip_vision": "mmjax.encoders.siglip:SiglipVision",
        "siglip2_vision": "mmjax.encoders.siglip:Siglip2Vision",
        "siglip_text": "mmjax.encoders.siglip:SiglipText",
    },
)

towers = Registry(
    "dual tower",
    {
        "dual_tower": "mmjax.encoders.dual_tower:DualTower",
    },
)
"""Two encoders with projections and a temperature: fields of both -> `Embeddings`."""

decoders = Registry(
    "decoder",
    {
        "bart": "mmjax.encoders.bart:Bart",
        "t5": "mmjax.encoders.t5:T5",
        "encoder_decoder": "mmjax.encoders.encoder_decoder:EncoderDecoder",
        "causal_lm": "mmjax.encoders.causal_lm:CausalLM",
        "context_decoder": "mmjax.encoders.context_decoder:ContextDecoder",
        "ctc": "mmjax.encoders.ctc:CTC",
        "whisper": "mmjax.encoders.whisper:Whisper",
    },
)
"""Decoders, alone or behind an encoder, with their heads: fields -> `Decoded`."""

EncoderSpec = Annotated[Spec, registry]


def build(name: str, **options: Any):
    """The encoder registered under `name`, as a Linen module."""
    return registry.build(name, **options)
