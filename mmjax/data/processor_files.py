"""Which files of a Hugging Face folder say how inputs are made, and what they are of."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.packages import locate

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "bpe.codes",
)
MEDIA = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_MORE = (
    "special_tokens_map.json",
    "added_tokens.json",
    "target_vocab.json",
    "normalizer.json",
    "chat_template.json",
    "chat_template.jinja",
)
ALL = (*TOKENIZER, *_MORE, *MEDIA)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_VIDEO = re.compile(r"(VideoMAE|Vivit)(ImageProcessor|VideoProcessor|FeatureExtractor)(Fast)?")
_VIDEO_MODELS = ("videomae", "vivit", "timesformer")


def resolve(source: str | Path) -> Path:
    """The folder of a path, of a "package:NAME/folder", or of a hub id's processor files.

    Raises ConfigError for none of them.
    """
    folder = Path(locate(str(source))).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or not _HUB_ID.fullmatch(str(source)):
        parent = folder.parent if folder.parent.is_dir() else Path()
        beside = [str(parent / one.name) for one in parent.iterdir() if one.is_dir()]
        raise ConfigError(111, f"there is no folder '{source}'", fix=nearest(str(folder), beside))
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(source), allow_patterns=[*ALL, "config.json"]))
    except (OSError, ValueError) as error:
        raise ConfigError(
            111,
            f"no folder '{source}', and no such model could be had from the hub: "
            f"{str(error).strip().splitlines()[0]}",
            fix="give the path of a folder, or try again online",
        ) from error


def has(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether any of the files is there."""
    return any((folder / name).is_file() for name in names)


def media_configs(folder: Path) -> dict[str, Mapping[str, Any]]:
    """The config of each part that takes media: `image_processor`, `video_processor`,
    `feature_extractor`.
    """
    found: dict[str, Mapping[str, Any]] = {}
    video = _read(folder / MEDIA[2])
    named = str(video.get("video_processor_type", ""))
    if _VIDEO.fullmatch(named):
        # The classes of that name need torch; the image processors before them do the same.
        slow = named.replace("VideoProcessor", "ImageProcessor")
        found["video_processor"] = {**video, "image_processor_type": slow}
    # transformers 5 keeps the parts' configs in one file, by these names.
    for name, config in _read(folder / "processor_config.json").items():
        if name in ("image_processor", "feature_extractor") and isinstance(config, Mapping):
            found[_part(config, folder) or name] = config
    config = _read(folder / MEDIA[0])
    part = _part(config, folder)
    if part is not None:
        found[part] = config
    return found


def _part(config: Mapping[str, Any], folder: Path) -> str | None:
    """What a config is of, told by the class that it names, or else by its keys."""
    named = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    of_pictures = {"image_mean", "do_resize", "do_center_crop", "crop_size"} & config.keys()
    if "image_processor_type" in config or of_pictures:
        model = _read(folder / "config.json").get("model_type")
        video = _VIDEO.fullmatch(named) or model in _VIDEO_MODELS
        return "video_processor" if video else "image_processor"
    return "feature_extractor" if named or "sampling_rate" in config else None


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(read, dict):
            return read
        reason = "it holds no object"
    except ValueError as error:
        reason = str(error)
    raise ConfigError(111, f"damaged JSON: {reason}", where=str(path), fix="replace the file")
