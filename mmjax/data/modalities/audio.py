"""A column of sounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Float, Int
from mmjax.data import audio_decoding
from mmjax.data.audio_features import Features, LogMel, Style
from mmjax.data.audio_front import FrontEnd, HuggingFace, Kind
from mmjax.data.audio_stream import FORMATS, RATES
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.paths import resolve_media
from mmjax.data.table import Table
from mmjax.data.transforms.sounds import AugmentSound


@dataclasses.dataclass(frozen=True)
class Audio:
    """Samples, log-mel bands or cepstra of one column of sounds.

    Fields: `input_values` float32 [b s] of a waveform, `input_features` float32 [b t f] of bands
    and cepstra, and `attention_mask` bool [b s] or [b t]. Sounds are mixed to mono (the mean of
    their channels) and resampled. Longer ones than `max_seconds` are cut, at random in training.
    """

    column: str
    sample_rate: int = 16_000
    """Hz."""
    max_seconds: float = 10.0
    lengths: tuple[float, ...] = ()
    """Shorter lengths, in seconds, that a batch may be padded to."""
    features: Kind = "log_mel"
    style: Style = "whisper"
    """Whose log-mel bands: `audio_features.LogMel` says what they are."""
    mel_bins: int = 80
    window_seconds: float = 0.025
    hop_seconds: float = 0.01
    mean: float = 0.0
    """What "kaldi" bands are brought to: (x - mean) / std."""
    std: float = 1.0
    coefficients: int = 20
    """Of "mfcc"."""
    normalize: bool = True
    """Whether a waveform is brought to zero mean and unit variance."""
    train_part: Literal["random", "same"] = "random"
    """Which part of a longer sound trains: any, or the one that evaluation sees."""
    evaluate_part: Literal["middle", "start"] = "middle"
    seconds: bool = False
    """Whether a batch also has `seconds` float32 [b 2]: when its first position begins and its last
    one, of silence too, would end. Sounds are then seen from their start."""
    augment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Training transforms by name, as `transforms.sounds.AugmentSound` takes them."""
    strict_rate: bool = False
    """Whether a file with another sample rate is an error."""
    formats: tuple[str, ...] = FORMATS
    processor: str | None = None
    """The folder or hub id of a Hugging Face feature extractor, in place of `sample_rate`,
    `features` and all that follow from them; of `max_seconds` too if it has a length of its own."""

    meaning: ClassVar[tuple[str, ...]] = (
        *("sample_rate", "features", "style", "mel_bins", "window_seconds", "hop_seconds"),
        *("mean", "std", "coefficients", "normalize", "processor"),
    )

    def __post_init__(self) -> None:
        low, high = RATES
        wrong = {
            "sample_rate": not low <= self.sample_rate <= high,
            "max_seconds": not 0 < self.max_seconds <= 24 * 3600,
            "lengths": any(not 0 < length <= self.max_seconds for length in self.lengths),
            "mel_bins": not 0 < self.mel_bins <= 1024,
            "window_seconds": round(self.window_seconds * self.sample_rate) < 2,
            "hop_seconds": round(self.hop_seconds * self.sample_rate) < 1,
            "std": self.std <= 0,
            "coefficients": self.features == "mfcc" and not 0 < self.coefficients <= self.mel_bins,
            "augment": self.features == "waveform"
            and self.processor is None
            and AugmentSound(self.augment, where="audio modality, augment").of_bands,
        }
        moved = self.train_part == "random" or self.evaluate_part != "start"
        if self.seconds and (moved or "shift" in self.augment):
            raise ConfigError(
                106,
                "seconds are asked for, but a sound may be seen from elsewhere than its start",
                where="audio modality",
                fix="set train_part=same and evaluate_part=start, and leave out shift",
            )
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="audio modality",
                fix="rates lie in 1000 to 384000, lengths in 0 to max_seconds, coefficients in 1 "
                "to mel_bins, and only bands have masks",
            )
        AugmentSound(self.augment, where="audio modality, augment")

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def check(self, cells: Cells, place: Place, *, decode: bool) -> bool:
        """The file is found, and decoded to its end if asked."""
        cell = cells[self.column]
        if _is_blank(cell):
            return False
        if decode:
            audio_decoding.verify_audio(
                cell,
                root=place.root(self.column),
                where=place.where(self.column),
                sample_rate=self.sample_rate,
                # A processor says its rate once it is loaded, which checking does not need.
                strict_rate=self.strict_rate and self.processor is None,
                formats=self.formats,
            )
        elif isinstance(cell, str):
            resolve_media(
                place.root(self.column),
                cell,
                where=place.where(self.column),
                max_bytes=audio_decoding.MAX_BYTES,
            )
        return True

    def front(self) -> FrontEnd:
        """The front end of these settings."""
        bands = LogMel(
            self.style,
            sample_rate=self.sample_rate,
            mel_bins=self.mel_bins,
            window=round(self.window_seconds * self.sample_rate),
            hop=round(self.hop_seconds * self.sample_rate),
            mean=self.mean,
            std=self.std,
        )
        samples = max(1, int(self.max_seconds * self.sample_rate))
        front = FrontEnd(
            self.features,
            self.sample_rate,
            longest=samples,
            normalize=self.normalize,
            log_mel=bands,
            coefficients=self.coefficients,
        )
        return dataclasses.replace(front, longest=front.length(samples))

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> AudioProcessor:
        """Learns nothing; the column must exist."""
        table.column(self.column)
        return AudioProcessor(
            self, None if self.processor is None else HuggingFace.load(self.processor)
        )

    def load(self, folder: Path) -> AudioProcessor:
        return AudioProcessor(
            self, None if self.processor is None else HuggingFace.load(str(folder))
        )


class AudioProcessor:
    """Facts: `sample_rate`, and `max_samples` of waveforms, `mel_bins` and `max_frames` of bands
    and cepstra, whose coefficients count as bins.
    """

    def __init__(self, settings: Audio, theirs: HuggingFace | None):
        self._settings = settings
        self._theirs = theirs
        front = settings.front() if theirs is None else theirs.front(settings.max_seconds)
        self._front = front
        self._augment = AugmentSound(settings.augment)
        self.random = bool(settings.augment) or settings.train_part == "random"
        if self._augment.of_bands and front.kind == "waveform":
            raise ConfigError(
                106,
                "masks of bands, and the processor makes waveforms",
                where="audio modality, augment",
                fix="leave out time_mask and frequency_mask",
            )
        self.padded_lengths = self._padded_lengths()
        self.facts: dict[str, Any] = {"sample_rate": front.sample_rate}
        if front.kind == "waveform":
            self.facts["max_samples"] = front.longest
        else:
            self.facts |= {"mel_bins": front.bands, "max_frames": front.longest}

    def _padded_lengths(self) -> tuple[int, ...]:
        if not self._settings.lengths or self._front.fixed:
            return ()
        rate = self._front.sample_rate
        shorter = {self._front.length(int(length * rate)) for length in self._settings.lengths}
        return tuple(sorted({*shorter, self._front.longest} - {0}))

    def save(self, folder: Path) -> None:
        """The file of the Hugging Face feature extractor, if there is one."""
        if self._theirs is not None:
            self._theirs.save(folder)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The features of one sound, unpadded."""
        settings, front = self._settings, self._front
        cell = cells[settings.column]
        # Drawn whatever is there, so that what follows does not depend on it.
        drawn = rng.random() if rng is not None else 0.0
        if _is_blank(cell):
            return None
        part = 0.5 if settings.evaluate_part == "middle" else 0.0
        if rng is not None and settings.train_part == "random":
            part = drawn
        waveform = audio_decoding.decode_audio(
            cell,
            root=place.root(settings.column),
            where=place.where(settings.column),
            sample_rate=front.sample_rate,
            max_seconds=front.max_samples / front.sample_rate,
            place=part,
            strict_rate=settings.strict_rate,
            formats=settings.formats,
        )
        if rng is not None:
            waveform = self._augment.waveform(waveform, rng)
        made = front(waveform)
        values = made.values
        if rng is not None and self._augment.of_bands:
            values = self._augment.bands(values, rng)
        return {
            "values": values,
            "frames": np.array(made.frames, np.int32),
            "silence": np.array(made.silence, np.float32),
        }

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Samples or frames of each row's sound, by its header."""
        column, rate = self._settings.column, self._front.sample_rate
        cells = table.column(column)
        found = np.zeros(len(rows), np.int32)
        for i, row in enumerate(rows.tolist()):
            if _is_blank(cells[row]):
                continue
            extent = audio_decoding.measure_audio(
                cells[row],
                root=table.root_of(column),
                where=table.where(row, column),
                sample_rate=rate,
                formats=self._settings.formats,
            )
            found[i] = self._front.longest
            if extent.frames is not None:
                found[i] = self._front.length(math.ceil(extent.frames * rate / extent.rate))
        return found

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, Float[np.ndarray, "b ..."]]:
        """Filled with silence after their ends to `length`, the longest if None."""
        made = [
            None
            if example is None
            else Features(example["values"], int(example["frames"]), float(example["silence"]))
            for example in examples
        ]
        fields = self._front.batch(made, length)
        if self._settings.seconds:
            end = self._front.seconds(fields["attention_mask"].shape[1])
            heard = np.array([[0.0, end if one is not None else 0.0] for one in made], np.float32)
            fields["seconds"] = heard.reshape(-1, 2)
        return fields


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())
