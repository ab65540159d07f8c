"""Speech to text by Whisper: sounds of any length, in any of its languages, with times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from mmjax.api.listening import Doubts, Listener, Segment
from mmjax.api.sound_windows import windows_of
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array
from mmjax.pretrained.load import Pretrained


@dataclasses.dataclass(frozen=True)
class Transcript:
    """The whole text; `language` is the code of what was told or heard, None for a model of one."""

    text: str
    language: str | None
    segments: tuple[Segment, ...]


def transcribe(
    encoder: Pretrained,
    audio: Any,
    *,
    language: str | None = None,
    task: str | None = None,
    timestamps: bool | None = None,
    temperature: float | Sequence[float] = 0.0,
    key: Array | None = None,
    on_segment: Callable[[Segment], Any] | None = None,
    **options: Any,
) -> Transcript:
    """The text of a sound of any length.

        model = mmjax.load_pretrained("openai/whisper-tiny")
        found = transcribe(model, "talk.wav", language="german", task="translate")
        for one in found.segments: ...

    `audio` is a path, encoded bytes, an array [s] at the model's rate, or a mapping with `array`
    and `sampling_rate`. `language` is a code or a name, heard from the first window if None; `task`
    is "transcribe" or "translate". With `timestamps` there are segments with times; None is where
    the sound is longer than a window of 30 s, which takes them: each next window begins at the last
    time that was said, as in transformers' long-form generation (4.57). Memory does not grow with
    the sound but for the text: ten hours are 1200 windows or more.

    Further keywords are those of `Doubts`, and settings of `mmjax.generate.GenerationConfig`;
    draws at a temperature above 0 come from `key`. `on_segment` is called with each segment once it
    is known. Raises ConfigError for a model that is no whole Whisper, a language, task or option
    that there is not, and `timestamps=False` for a longer sound; DataError for a sound that cannot
    be read, has no samples, or is damaged.
    """
    named = {field.name for field in dataclasses.fields(Doubts)}
    several = (temperature,) if isinstance(temperature, (int, float)) else tuple(temperature)
    chosen = {name: options.pop(name) for name in tuple(options) if name in named}
    doubts = Doubts(temperature=several, **chosen)
    listener = Listener(encoder, doubts, options, jax.random.key(0) if key is None else key)
    with windows_of(audio, listener.front) as windows:
        if windows.long and timestamps is False:
            raise ConfigError(
                109,
                "timestamps=False for a sound of more than one window",
                fix="timestamps=True: windows begin where times say",
            )
        timed = windows.long if timestamps is None else timestamps
        if listener.languages and language is None:
            heard = listener.heard_languages(windows.at(0)[0])
            language = max(heard, key=lambda one: heard[one])
        listener.begin(language=language, task=task, timestamps=timed)
        found = []
        for segment in listener.segments(windows, timed):
            found.append(segment)
            if on_segment is not None:
                on_segment(segment)
    tokens = [token for one in found for token in one.tokens]
    code = listener.code(language)
    return Transcript(listener.text(tokens).strip(), code, tuple(found))


def detect_language(encoder: Pretrained, audio: Any) -> dict[str, float]:
    """The probability of each language, by its code, in the first 30 s of a sound.

    Raises ConfigError for a model of one language, and as `transcribe` does.
    """
    listener = Listener(encoder, Doubts(), {}, jax.random.key(0))
    if not listener.languages:
        raise ConfigError(109, "the model knows one language", fix="load a multilingual Whisper")
    with windows_of(audio, listener.front) as windows:
        return listener.heard_languages(windows.at(0)[0])
