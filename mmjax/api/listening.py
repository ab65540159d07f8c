"""Whisper at work: each window of a sound to tokens, and to segments with times."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.api.generating import encode, settings_of, tokenizer_of
from mmjax.api.languages import extras_of, language_ids, speech_prompt, start_of
from mmjax.api.sound_windows import Windows
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, ArrayLike, Float, Int
from mmjax.data import audio_front
from mmjax.generate.config import GenerationConfig
from mmjax.generate.decoder import Decoder, LinenDecoder
from mmjax.generate.engine import Generated, bucket, generate
from mmjax.generate.processors import Processor
from mmjax.generate.segments import TimedTokens, compression_ratio, prompt_of, segments_of
from mmjax.pretrained.load import Pretrained

STEP = 0.02
"""Seconds between two times that Whisper can tell, and between two tokens of its encoder."""
_STRIDE = 2
"""Frames of a step."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """What is said from `start` to `end`, in seconds.

    `log_probability` is the mean of the tokens of the window that it is of, the end included, at
    the `temperature` that it was accepted at.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    log_probability: float
    temperature: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doubts:
    """When a window is decoded again, or taken for silence; as transformers has them.

    `temperature` are tried one after the other while the ids can be compressed by more than
    `compression_ratio_threshold`, or their mean log-probability is below `logprob_threshold`.
    Whisper's authors take 0.0, 0.2, ... 1.0, a ratio of 2.4 of texts (1.35 of ids) and -1.0. A
    window is left out where that log-probability is too low, and silence is likelier than
    `no_speech_threshold` (0.6). With `condition_on_prev_tokens` a window is told what the ones
    before it said, if that was said at less than 0.5.
    """

    temperature: tuple[float, ...] = (0.0,)
    compression_ratio_threshold: float | None = None
    logprob_threshold: float | None = None
    no_speech_threshold: float | None = None
    condition_on_prev_tokens: bool = False

    def __post_init__(self) -> None:
        if not self.temperature or min(self.temperature) < 0:
            raise ConfigError(
                109, f"temperature={self.temperature}", fix="0.0 or more, such as 0.2"
            )
        if self.no_speech_threshold is not None and self.logprob_threshold is None:
            raise ConfigError(
                109, "no_speech_threshold without logprob_threshold", fix="logprob_threshold=-1.0"
            )


@dataclasses.dataclass(frozen=True)
class _Heard:
    """What a window says; no tokens where it is silent."""

    tokens: tuple[int, ...]
    log_probability: float
    temperature: float


class Listener:
    """A Whisper with its settings.

    Raises ConfigError for another model, a folder without tokenizer or feature extractor, and
    settings that are none.
    """

    def __init__(
        self, encoder: Pretrained, doubts: Doubts, settings: Mapping[str, Any], key: Array
    ):
        if encoder.model_type != "whisper":
            raise ConfigError(
                109, f"'{encoder.model_type}' does not transcribe", fix="load a whole Whisper"
            )
        self._encoder, self._doubts, self._key = encoder, doubts, key
        self._decoder = LinenDecoder(encoder.module)
        self._tokenizer = tokenizer_of(encoder)
        config = settings_of(encoder).replace(output_scores=True, **settings)
        if config.max_new_tokens is None and config.max_length is None:
            config = config.replace(max_length=encoder.config.max_target_positions)
        self._config = config
        self.front = audio_front.HuggingFace.load(str(encoder.source)).front(0)
        self.languages = language_ids(encoder)
        extra = extras_of(encoder)
        silent = extra.get("no_timestamps_token_id")
        vocabulary = encoder.config.vocab_size
        self._first = vocabulary if silent is None else silent + 1
        suppressed = self._config.suppress_tokens
        self._previous = extra.get("prev_sot_token_id")
        if self._previous is None and len(suppressed) > 1:
            self._previous = suppressed[-2]
        self._prompt: list[int] = []
        self._processors: tuple[Processor, ...] = ()

    def begin(self, *, language: str | None, task: str | None, timestamps: bool) -> None:
        self._prompt, self._processors = speech_prompt(
            self._encoder, self._config, language=language, task=task, timestamps=timestamps
        )

    def code(self, language: str | None) -> str | None:
        """The code of a language that was told by its code or name."""
        number = self._prompt[1] if language is not None else None
        return next((code for code, one in self.languages.items() if one == number), None)

    def heard_languages(self, features: Float[np.ndarray, "1 t f"]) -> dict[str, float]:
        context = encode(self._encoder, {"input_features": features})
        start = start_of(self._encoder, self._config, None)[0][0]
        likely = np.asarray(self._next(context, [start]), np.float64)
        of_each = {code: likely[number] for code, number in self.languages.items()}
        total = sum(of_each.values())
        return {code: float(one / total) for code, one in of_each.items()}

    def segments(self, windows: Windows, timed: bool) -> Iterator[Segment]:
        """Window after window, each from where the last segment of the one before ended."""
        start, number, said = 0, 0, list[tuple[int, ...]]()
        trusted = self._doubts.condition_on_prev_tokens
        while True:
            features, frames = windows.at(start)
            if not frames:
                return
            before: list[int] = []
            if trusted and said:
                most = self._encoder.config.max_target_positions // 2 - 1
                before = prompt_of(said, self._first, most, self._previous)
            heard = self._heard(features, before, number)
            steps = frames
            if heard.tokens:
                trusted = self._doubts.condition_on_prev_tokens and heard.temperature < 0.5
                length = frames // _STRIDE
                parts, moved = [TimedTokens(0, length, heard.tokens)], None
                if timed:
                    parts, moved = segments_of(heard.tokens, self._first, length)
                # Times that do not go on would be decoded for ever.
                if moved:
                    steps = moved * _STRIDE
                for part in parts:
                    said.append(part.tokens)
                    offset = start // _STRIDE
                    yield Segment(
                        start=round((offset + part.start) * STEP, 2),
                        end=round((offset + part.stop) * STEP, 2),
                        text=self.text(part.tokens),
                        tokens=part.tokens,
                        log_probability=heard.log_probability,
                        temperature=heard.temperature,
                    )
            start, number = start + steps, number + 1

    def text(self, tokens: Sequence[int]) -> str:
        words = [one for one in tokens if one < self._first]
        return self._tokenizer.decode(words, skip_special_tokens=True)

    def _heard(self, features: ArrayLike, before: list[int], number: int) -> _Heard:
        """The first of the temperatures that leaves no doubt, or else the last."""
        doubts, prompt = self._doubts, [*before, *self._prompt]
        context = encode(self._encoder, {"input_features": features})
        heard = _Heard((), 0.0, 0.0)
        for turn, temperature in enumerate(doubts.temperature):
            config = self._config
            if temperature > 0:
                config = config.replace(do_sample=True, temperature=temperature, num_beams=1)
            own = jax.random.fold_in(jax.random.fold_in(self._key, number), turn)
            found = generate(
                self._decoder,
                self._encoder.variables,
                np.array([prompt]),
                config,
                context=context,
                key=own,
                processors=self._processors,
            )
            tokens = found.lists()[0][0]
            score = _mean_score(found, config)
            ends = self._config.eos_token_id
            kept = tokens[:-1] if tokens and tokens[-1] in ends else tokens
            heard = _Heard(tuple(kept), score, temperature)
            unlikely = doubts.logprob_threshold is not None and score < doubts.logprob_threshold
            limit = doubts.compression_ratio_threshold
            size = self._encoder.config.vocab_size
            again = limit is not None and compression_ratio(tokens, size) > limit
            if unlikely and doubts.no_speech_threshold is not None:
                silence = self._next(context, [*before, self._prompt[0]])[self._first - 2]
                if float(silence) > doubts.no_speech_threshold:
                    return dataclasses.replace(heard, tokens=())
            if not (again or unlikely):
                break
        return heard

    def _next(self, context: Any, prompt: Sequence[int]) -> Float[Array, "v"]:
        """The probability of each token behind a prompt."""
        width = bucket(len(prompt))
        tokens = np.zeros((1, width), np.int32)
        tokens[0, width - len(prompt) :] = prompt
        mask = np.arange(width)[None] >= width - len(prompt)
        variables = self._encoder.variables
        return _probabilities(variables, tokens, mask, context, decoder=self._decoder)


@functools.partial(jax.jit, static_argnames="decoder")
def _probabilities(
    variables: Any, tokens: Int[Array, "1 n"], mask: Array, context: Any, *, decoder: Decoder
) -> Float[Array, "v"]:
    positions = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
    logits, _ = decoder(variables, tokens, {}, mask=mask, positions=positions, context=context)
    return jax.nn.softmax(logits[0].astype(jnp.float32))


def _mean_score(found: Generated, config: GenerationConfig) -> float:
    """The mean log-probability of the tokens; with beams, what they were chosen by."""
    if found.scores is None:
        raise ValueError("scores were not asked for")
    score = float(found.scores[0, 0])
    return score if config.num_beams > 1 else score / max(1, int(found.lengths[0, 0]))
