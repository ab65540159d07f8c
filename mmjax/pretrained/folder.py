"""What lies in a Hugging Face folder, and what is refused unread."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mmjax.core.errors import WeightsError, nearest
from mmjax.core.packages import locate

Format = Literal["safetensors", "msgpack"]

_WHOLE: dict[str, Format] = {"model.safetensors": "safetensors", "flax_model.msgpack": "msgpack"}
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".joblib")
_MAGIC = {
    b"\x80": "a pickle",
    b"PK\x03\x04": "a zip archive, as torch.save writes",
    b"\x93NUMPY": "a NumPy file",
    b"\x89HDF": "an HDF5 file of Keras",
    b"\x1f\x8b": "a gzip archive",
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to",
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WANTED = ("*.json", "*.txt", "*.model", "*.jinja")

CONVERT = (
    "make safetensors of them where you trust them: "
    "`AutoModel.from_pretrained(folder).save_pretrained(out)` with torch and transformers"
)


@dataclasses.dataclass(frozen=True)
class WeightFiles:
    """The files that hold the weights, in order."""

    format: Format
    paths: tuple[Path, ...]


def resolve(source: str | os.PathLike) -> Path:
    """The folder of a path, a hub id or "package:NAME/folder".

    Raises WeightsError if there is none.
    """
    source = locate(str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise WeightsError(
            650, f"'{source}' is a file", fix=f"name the folder that holds it: '{path.parent}'"
        )
    if not _HUB_ID.fullmatch(str(source)):
        parent = path.parent if path.parent.is_dir() else Path()
        siblings = [str(parent / one.name) for one in parent.iterdir() if one.is_dir()]
        raise WeightsError(650, f"there is no folder '{source}'", fix=nearest(str(path), siblings))
    return _download(str(source))


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import HfHubHTTPError, LocalEntryNotFoundError

    try:
        # Tokenizers and config first: they say nothing of weights, and are small.
        folder = Path(snapshot_download(name, allow_patterns=[*_WANTED, "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*_WANTED, "flax_model*"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise WeightsError(
            650,
            f"no folder '{name}', and no such model could be had from the hub: "
            f"{str(error).strip().splitlines()[0]}",
            fix="give the path of a folder with config.json and weights, or try again online",
        ) from error
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands. Raises WeightsError if it is missing or damaged."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        here = [one.name for one in folder.iterdir()]
        raise WeightsError(
            651, "there is no config.json", where=str(folder), fix=nearest("config.json", here)
        ) from None
    except ValueError as error:
        raise WeightsError(
            651, f"config.json is damaged: {error}", where=str(path), fix="restore the file"
        ) from error
    if not isinstance(config, dict):
        raise WeightsError(651, "config.json holds no object", where=str(path))
    return config


def weight_files(folder: Path) -> WeightFiles:
    """The weights of a folder: safetensors before msgpack. Raises WeightsError if there are none.

    Every file is looked at before any is read: pickles are refused, whatever they are called.
    """
    found = _find(folder)
    for path in found.paths:
        refuse_pickle(path)
    return found


def _find(folder: Path) -> WeightFiles:
    for name, kind in _WHOLE.items():
        if (folder / name).is_file():
            return WeightFiles(kind, (folder / name,))
        index = folder / f"{name}.index.json"
        if index.is_file():
            return WeightFiles(kind, tuple(_shards(index)))
    there = sorted(one.name for one in folder.iterdir() if one.is_file())
    pickles = [name for name in there if name.endswith(_PICKLES)]
    if pickles:
        if b"WhisperSpec" in _first(folder / pickles[0]):
            raise WeightsError(
                653,
                f"{pickles[0]} is in CTranslate2's form",
                where=str(folder),
                fix="mmjax.pretrained.ctranslate2.to_huggingface(folder, out)",
            )
        raise WeightsError(
            653,
            f"{', '.join(pickles[:5])}: pickles can run any code and are not read",
            where=str(folder),
            fix=CONVERT,
        )
    raise WeightsError(
        650,
        "the folder has no weights",
        where=str(folder),
        fix=f"expected {', '.join(_WHOLE)} or their shards with an index; "
        f"there is: {', '.join(there[:20]) or 'nothing'}",
    )


def _shards(index: Path) -> Iterator[Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            654, f"the index is damaged: {error!r}", where=str(index), fix="restore the file"
        ) from error
    wrong = [name for name in names if Path(name).name != name]
    if wrong:
        raise WeightsError(654, f"the index names files elsewhere: {wrong[:3]}", where=str(index))
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise WeightsError(
            654,
            f"shards are missing: {', '.join(missing[:20])}",
            where=str(index),
            fix="download the folder again",
        )
    yield from (index.parent / name for name in names)


def refuse_pickle(path: Path) -> None:
    """Raises WeightsError for what is no weight file by its first bytes; reads no more of it."""
    first = _first(path)
    if first[8:9] == b"{":
        return  # safetensors: the length of a header may look like any of the below
    for magic, kind in _MAGIC.items():
        if first.startswith(magic):
            raise WeightsError(
                653, f"'{path.name}' is {kind}, and is not opened", where=str(path), fix=CONVERT
            )


def _first(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(32)


def processor_files(folder: Path) -> Mapping[str, Path]:
    """Files beside the weights that make up tokenizer and processors."""
    skipped = ("config.json", "generation_config.json")
    suffixes = (".json", ".txt", ".model", ".jinja")
    return {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.suffix in suffixes
        and path.name not in skipped
        and not path.name.endswith(".index.json")
        and not path.name.lower().startswith(("readme", "license"))
    }
