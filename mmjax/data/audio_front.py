"""The front end of an audio encoder: a waveform's features, and how rows of them become a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.files import write_json
from mmjax.core.typing import Float
from mmjax.data import processor_files
from mmjax.data.audio_features import Features, LogMel, standardize

Kind = Literal["waveform", "log_mel", "mfcc"]

CONFIG_FILE = "preprocessor_config.json"

_AST_MEAN, _AST_STD = -4.2677393, 4.5689974


@dataclasses.dataclass(frozen=True)
class FrontEnd:
    """What becomes of a mono waveform in [-1, 1] at `sample_rate` Hz.

    Lengths are samples of a waveform, and frames of everything else.
    """

    kind: Kind
    sample_rate: int
    longest: int
    """The greatest length, which longer sounds are cut to."""
    fixed: bool = False
    """Whether every batch is as long as that."""
    normalize: bool = True
    """Whether waveforms are brought to zero mean and unit variance."""
    log_mel: LogMel = dataclasses.field(default_factory=LogMel)
    coefficients: int = 0

    @property
    def max_samples(self) -> int:
        """The samples that `longest` covers."""
        return self.longest if self.kind == "waveform" else self.log_mel.samples(self.longest)

    @property
    def bands(self) -> int:
        """Values of a frame; 1 for a waveform."""
        return {"waveform": 1, "log_mel": self.log_mel.mel_bins, "mfcc": self.coefficients}[
            self.kind
        ]

    def length(self, samples: int) -> int:
        """The length that so many samples have."""
        if self.kind == "waveform":
            return min(samples, self.longest)
        front = self.log_mel
        if self.kind == "mfcc":
            front = dataclasses.replace(front, style="kaldi")
        return min(front.frames(samples), self.longest)

    def seconds(self, length: int) -> float:
        """How long so many samples or frames last."""
        each = 1 if self.kind == "waveform" else self.log_mel.hop
        return length * each / self.sample_rate

    def __call__(self, waveform: Float[np.ndarray, "s"]) -> Features:
        """The features of one waveform, a column of samples for a waveform, at most `longest`."""
        waveform = waveform[: self.max_samples]
        if self.kind == "waveform":
            values = standardize(waveform) if self.normalize else waveform.astype(np.float32)
            return Features(values[:, None], len(values), 0.0)
        if self.kind == "mfcc":
            made = self.log_mel.cepstra(waveform, self.coefficients)
        else:
            made = self.log_mel(waveform, self.max_samples)
        return Features(made.values[: self.longest], min(made.frames, self.longest), made.silence)

    def batch(
        self, examples: Sequence[Features | None], length: int | None = None
    ) -> dict[str, np.ndarray]:
        """`input_values` float32 [b s] of waveforms, `input_features` float32 [b t f] of all else,
        and `attention_mask` bool [b s] or [b t].

        All are filled with silence to `length`, `longest` if None. Rows of None are zeros.
        """
        length = self.longest if length is None else length
        values = np.zeros((len(examples), length, self.bands), np.float32)
        mask = np.zeros((len(examples), length), bool)
        for i, example in enumerate(examples):
            if example is not None:
                kept = example.values[:length]
                values[i, : len(kept)] = kept
                values[i, len(kept) :] = example.silence
                mask[i, : example.frames] = True
        if self.kind == "waveform":
            return {"input_values": values[..., 0], "attention_mask": mask}
        return {"input_features": values, "attention_mask": mask}


class HuggingFace:
    """The front end that a Hugging Face feature extractor's `preprocessor_config.json` describes.

    Needs no torch, which the Audio Spectrogram Transformer's own class does.
    """

    def __init__(self, config: Mapping[str, Any], *, where: str = CONFIG_FILE):
        self._config = dict(config)
        kind = _kind(config)
        if kind not in _READERS:
            raise ConfigError(
                111, f"no audio front end for '{kind}'", where=where, fix=nearest(kind, _READERS)
            )
        self.kind = kind
        try:
            self._front = _READERS[kind](config)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                111, f"{kind} with wrong values: {error}", where=where, fix="correct the file"
            ) from error

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self._front.sample_rate

    @classmethod
    def load(cls, name: str) -> HuggingFace:
        """From a folder, a "package:NAME/folder" or a hub id.

        Raises ConfigError if there is no audio feature extractor.
        """
        folder = processor_files.resolve(name)
        config = processor_files.media_configs(folder).get("feature_extractor")
        if config is None:
            raise ConfigError(
                111,
                f"no feature extractor in '{name}'",
                fix=f"give a folder with {CONFIG_FILE} of an audio model, or a hub id",
            )
        return cls(config, where=f"{name}, {CONFIG_FILE}")

    def front(self, max_seconds: float) -> FrontEnd:
        """The front end; `max_seconds` is the longest where the extractor names none."""
        if self._front.longest:
            return self._front
        return dataclasses.replace(
            self._front, longest=max(1, int(max_seconds * self._front.sample_rate))
        )

    def save(self, folder: Path) -> None:
        """`preprocessor_config.json`."""
        write_json(folder / CONFIG_FILE, self._config)


def _kind(config: Mapping[str, Any]) -> str:
    """The extractor that a config names, or, as old ones name none, the one that has its keys."""
    named = config.get("feature_extractor_type")
    if named is None and "sampling_rate" in config:
        if "n_fft" in config and "chunk_length" in config:
            return "WhisperFeatureExtractor"
        if "num_mel_bins" in config and "max_length" in config:
            return "ASTFeatureExtractor"
        if config.get("feature_size") == 1:
            return "Wav2Vec2FeatureExtractor"
    return str(named)


def _wav2vec2(config: Mapping[str, Any]) -> FrontEnd:
    return FrontEnd(
        "waveform",
        int(config.get("sampling_rate", 16_000)),
        longest=0,
        normalize=bool(config.get("do_normalize", True)),
    )


def _whisper(config: Mapping[str, Any]) -> FrontEnd:
    if config.get("dither"):
        raise ValueError("dither is random, and only 0 is read")
    rate, hop = int(config.get("sampling_rate", 16_000)), int(config.get("hop_length", 160))
    bands = LogMel(
        "whisper",
        sample_rate=rate,
        mel_bins=int(config.get("feature_size", 80)),
        window=int(config.get("n_fft", 400)),
        hop=hop,
    )
    frames = int(config.get("chunk_length", 30)) * rate // hop
    return FrontEnd("log_mel", rate, longest=frames, fixed=True, log_mel=bands)


def _spectrogram_transformer(config: Mapping[str, Any]) -> FrontEnd:
    rate = int(config.get("sampling_rate", 16_000))
    normalized = bool(config.get("do_normalize", True))
    bands = LogMel(
        "kaldi",
        sample_rate=rate,
        mel_bins=int(config.get("num_mel_bins", 128)),
        mean=float(config.get("mean", _AST_MEAN)) if normalized else 0.0,
        std=2 * float(config.get("std", _AST_STD)) if normalized else 1.0,
    )
    frames = int(config.get("max_length", 1024))
    return FrontEnd("log_mel", rate, longest=frames, fixed=True, log_mel=bands)


_READERS = {
    "Wav2Vec2FeatureExtractor": _wav2vec2,
    "WhisperFeatureExtractor": _whisper,
    "ASTFeatureExtractor": _spectrogram_transformer,
}
EXTRACTORS = tuple(_READERS)
"""The feature extractors that can be read, by the names that Hugging Face gives them."""
