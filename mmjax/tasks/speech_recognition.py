"""What is said in a recording, written word by word."""

from __future__ import annotations

from typing import ClassVar

from mmjax.tasks.text_recognition import TextRecognition


class SpeechRecognition(TextRecognition, kw_only=True):
    """The text of speech by an encoder of sounds and a decoder that looks at its tokens (Whisper,
    Radford et al. 2022); `mmjax.metrics.speech` and exact match.

    A Whisper folder is fine-tuned with the encoder of `model.pretrained={"audio":
    "FOLDER#encoder"}`, which is to keep silence (`whisper_encoder` with `keeps_silence=True`), the
    fusion `unchanged` of its width, and `pretrained="FOLDER"`. A text then begins with what the
    folder's tokenizer puts before it; another language or task is `begins_with` their ids.
    """

    headline: ClassVar[tuple[str, ...]] = ("wer", "cer", "exact_match")
