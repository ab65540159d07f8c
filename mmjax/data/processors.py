"""A Hugging Face folder's processor: what its model takes, as arrays in mmjax's layout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import atomic
from mmjax.core.typing import Float, Shaped
from mmjax.data import audio_front, processor_files
from mmjax.data.decoding import decode_image
from mmjax.data.resampling import resample

_UNLIMITED = 10**6
"""Tokenizers that know no longest text say a length beyond this."""

Fields = dict[str, Shaped[np.ndarray, "b ..."]]


class Processor:
    """A tokenizer, an image or video processor and an audio feature extractor, as far as they are
    there.

    Each is loaded when it is first asked for, and None if the folder has no files of it. All but
    the Audio Spectrogram Transformer's front end are classes of `transformers`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._media = processor_files.media_configs(folder)

    def __repr__(self) -> str:
        found = [
            name
            for name in ("tokenizer", "image_processor", "video_processor", "feature_extractor")
            if self._has(name)
        ]
        return f"Processor('{self.folder}': {', '.join(found)})"

    def _has(self, part: str) -> bool:
        if part == "tokenizer":
            return processor_files.has(self.folder, processor_files.TOKENIZER)
        return part in self._media

    @functools.cached_property
    def tokenizer(self) -> Any | None:
        """The folder's tokenizer."""
        if not self._has("tokenizer"):
            return None
        from transformers import AutoTokenizer

        made = self._load("tokenizer", AutoTokenizer.from_pretrained)
        if made.pad_token_id is None:
            # Decoder-only tokenizers have none; the mask hides whatever stands in padding.
            made.pad_token = made.eos_token or made.unk_token
        return made

    @functools.cached_property
    def image_processor(self) -> Any | None:
        """The folder's image processor, Pillow's version of it."""
        return self._pictures("image_processor")

    @functools.cached_property
    def video_processor(self) -> Any | None:
        """The folder's image processor where it takes videos."""
        return self._pictures("video_processor")

    @functools.cached_property
    def feature_extractor(self) -> Any | None:
        """The folder's audio feature extractor; an `audio_front.HuggingFace` where the class needs
        torch.
        """
        config = self._media.get("feature_extractor")
        if config is None:
            return None
        where = str(self.folder)
        read = audio_front.HuggingFace(config, where=where)
        if read.kind == "ASTFeatureExtractor":
            return read
        import transformers

        return getattr(transformers, read.kind).from_dict(dict(config))

    def _pictures(self, part: str) -> Any | None:
        config = self._media.get(part)
        if config is None:
            return None
        import transformers

        name = str(config.get("image_processor_type", "")).removesuffix("Fast")
        if hasattr(transformers, name):
            return self._load(part, lambda *_, **__: getattr(transformers, name).from_dict(config))
        load = functools.partial(transformers.AutoImageProcessor.from_pretrained, use_fast=False)
        return self._load(part, load)

    def _load(self, part: str, load: Callable[..., Any]) -> Any:
        try:
            # Code from the folder is never run, nor is anyone asked on the console whether to.
            return load(str(self.folder), trust_remote_code=False)
        except Exception as error:  # tokenizers raises bare Exceptions for damaged files
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(
                110 if part == "tokenizer" else 111,
                f"the {part.replace('_', ' ')} does not load: {reason}",
                where=str(self.folder),
                fix="see that its files are whole, and that the packages it needs are installed",
            ) from error

    def _need(self, part: str) -> Any:
        found = getattr(self, part)
        if found is None:
            files = (
                processor_files.TOKENIZER[:4] if part == "tokenizer" else processor_files.MEDIA[:1]
            )
            raise ConfigError(
                110 if part == "tokenizer" else 111,
                f"the folder has no {part.replace('_', ' ')}",
                where=str(self.folder),
                fix=f"it would be in {' or '.join(files)}",
            )
        return found

    def __call__(
        self,
        *,
        text: str | Sequence[str] | None = None,
        text_pair: str | Sequence[str] | None = None,
        images: Any = None,
        audio: Any = None,
        videos: Any = None,
        sampling_rate: int | None = None,
        max_length: int | None = None,
        padding: Literal["longest", "max_length"] = "longest",
    ) -> Fields:
        """The fields of one batch, of one example or of a list of them.

        Text gives `input_ids` int32 [b n], `attention_mask` bool [b n] and `token_type_ids` where
        its tokenizer does, cut to `max_length` or the tokenizer's own. Images (Pillow pictures,
        encoded bytes, uint8 [h w c]) give `pixel_values` float32 [b h w c], videos (sequences of
        images) [b t h w c]. Audio (mono waveforms in [-1, 1], resampled from `sampling_rate` Hz if
        that is not the extractor's) gives `input_values` float32 [b s], or `input_features` [b t f]
        of Whisper and the Audio Spectrogram Transformer, and a mask where its extractor does.
        Raises ConfigError for a part that the folder has not.
        """
        fields: Fields = {}
        if text is not None:
            _merge(fields, self._of_text(text, text_pair, max_length, padding))
        if images is not None:
            _merge(fields, self._of_images(_listed(images)))
        if videos is not None:
            _merge(fields, self._of_videos(videos))
        if audio is not None:
            _merge(fields, self._of_audio(audio, sampling_rate))
        return fields

    def _of_text(
        self,
        text: str | Sequence[str],
        pair: str | Sequence[str] | None,
        max_length: int | None,
        padding: str,
    ) -> Fields:
        tokenizer = self._need("tokenizer")
        longest = max_length or tokenizer.model_max_length
        made = tokenizer(
            [text] if isinstance(text, str) else list(text),
            None if pair is None else [pair] if isinstance(pair, str) else list(pair),
            padding=padding,
            truncation=longest < _UNLIMITED,
            max_length=longest if longest < _UNLIMITED else None,
            return_tensors="np",
        )
        return _fields(made)

    def _of_images(self, images: Sequence[Any]) -> Fields:
        made = self._need("image_processor")(_pictures(images), return_tensors="np")
        return _fields(made)

    def _of_videos(self, videos: Any) -> Fields:
        processor = self._need("video_processor")
        first = videos[0]
        one = not isinstance(first, (list, tuple)) and getattr(first, "ndim", 3) == 3
        made = processor([_pictures(video) for video in ([videos] if one else videos)])
        return {"pixel_values": np.stack([_last(video) for video in made["pixel_values"]])}

    def _of_audio(self, audio: Any, sampling_rate: int | None) -> Fields:
        extractor = self._need("feature_extractor")
        ours = isinstance(extractor, audio_front.HuggingFace)
        rate = extractor.rate if ours else int(extractor.sampling_rate)
        one = np.ndim(audio[0]) == 0 if len(audio) else True
        waveforms = [_waveform(sound, sampling_rate, rate) for sound in ([audio] if one else audio)]
        if ours:
            front = extractor.front(max_seconds=0)
            values = front.batch([front(waveform) for waveform in waveforms])["input_features"]
            # Bands over time have this name here, whatever the extractor calls them.
            return {"input_features": values}
        # Whisper pads to its chunk by itself, and has no other way.
        options = {} if extractor.model_input_names[0] == "input_features" else {"padding": True}
        made = extractor(waveforms, sampling_rate=rate, return_tensors="np", **options)
        return _fields(made)

    def save(self, folder: Path) -> None:
        """The files as they are, but for config.json, which is the model's."""
        for name in processor_files.ALL:
            if (self.folder / name).is_file():
                with atomic(Path(folder) / name, "wb") as file:
                    file.write((self.folder / name).read_bytes())


def load_processor(source: str | Path) -> Processor | None:
    """The processor in a folder or of a hub id; None if there are no files of any.

    Raises ConfigError if there is no such folder, or a config file is damaged.
    """
    folder = processor_files.resolve(source)
    there = processor_files.has(folder, (*processor_files.TOKENIZER, *processor_files.MEDIA))
    return Processor(folder) if there else None


def _merge(fields: Fields, more: Fields) -> None:
    for name in more:
        if name in fields:
            raise ConfigError(
                111, f"two inputs have a field '{name}'", fix="call the processor once for each"
            )
    fields |= more


def _listed(images: Any) -> Sequence[Any]:
    several = isinstance(images, (list, tuple)) or getattr(images, "ndim", 3) == 4
    return images if several else [images]


def _pictures(images: Sequence[Any]) -> list[Any]:
    return [decode_image(image, root=None, where=f"image {i}") for i, image in enumerate(images)]


def _waveform(sound: Any, given: int | None, rate: int) -> Float[np.ndarray, "s"]:
    waveform = np.asarray(sound)
    if waveform.ndim != 1 or waveform.dtype.kind != "f" or not waveform.size:
        raise DataError(
            416,
            f"{waveform.dtype} {list(waveform.shape)} is no mono waveform",
            fix="give floats in [-1, 1] of one channel",
        )
    waveform = waveform.astype(np.float32)
    return waveform if given is None else resample(waveform, given, rate)


def _fields(made: Mapping[str, Any]) -> Fields:
    """Arrays as mmjax has them: channels and mel bands last, int32, masks bool."""
    fields: Fields = {}
    for name, value in made.items():
        array = np.asarray(value)
        if name == "pixel_values":
            array = _last(array)
        elif name == "input_features":
            array = array.swapaxes(-1, -2)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        elif array.dtype.kind in "iu":
            array = array.astype(bool if name.endswith("mask") else np.int32)
        fields[name] = np.ascontiguousarray(array)
    return fields


def _last(pictures: Any) -> Float[np.ndarray, "n h w c"]:
    """Channels from first to last."""
    return np.ascontiguousarray(np.moveaxis(np.asarray(pictures, np.float32), -3, -1))
