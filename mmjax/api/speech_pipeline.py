"""`automatic-speech-recognition` over a Hugging Face folder of Whisper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmjax.api.pretrained import load_pretrained
from mmjax.api.transcribing import transcribe


class Speech:
    """A call gives `{"text"}` of a sound of any length, a list of sounds a list of them.

    With `return_timestamps=True` also `chunks`, `[{"text", "timestamp": (start, end)}, ...]` in
    seconds, as transformers' pipeline does. Sounds and other options are those of
    `mmjax.api.transcribing.transcribe`; a call may change what the pipeline was made with.
    """

    def __init__(self, source: Any, **options: Any):
        self.encoder = load_pretrained(source)
        self._options: Mapping[str, Any] = options

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.encoder.source)!r})"

    def __call__(self, audio: Any, /, **options: Any) -> Any:
        if isinstance(audio, (list, tuple)):
            return [self(one, **options) for one in audio]
        chosen = {**self._options, **options}
        told = chosen.pop("return_timestamps", False)
        found = transcribe(self.encoder, audio, timestamps=True if told else None, **chosen)
        if not told:
            return {"text": found.text}
        chunks = [{"text": one.text, "timestamp": (one.start, one.end)} for one in found.segments]
        return {"text": found.text, "chunks": chunks}
