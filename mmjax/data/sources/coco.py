"""Pictures with boxes, from the JSON files of COCO and of those who took over its form."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.core.errors import DataError
from mmjax.data.sources.files import existing, fingerprint, folder
from mmjax.data.table import Table

_NEEDED = {
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "annotations": ("image_id",),
}


@dataclasses.dataclass(frozen=True)
class Coco:
    """`instances_*.json`: one row a picture, in the order of the file (Lin et al. 2014).

    `path` is a file, or files by split: `{"train": "instances_train2017.json", ...}`; `images` the
    folder of the pictures, or folders by split, the file's own if not given. A picture's path is
    relative to `root`, or, without one, to the folder that holds all of those.

    Columns: `image`, its path; `width` and `height`, in pixels, None where the file does not say;
    `boxes`, a list of `{"box": [x, y, width, height], "label", "area", "crowd"}` in pixels, as the
    target `boxes` takes them, cut at the border of the picture, those without a size left out;
    `image_id`; `caption`, the first of a picture, if `captions` names files with some
    (`captions_*.json`); and, of several files, `split`. Raises DataError for files that hold
    something else, and annotations of pictures or categories that are not there.
    """

    path: str | Mapping[str, str]
    images: str | Mapping[str, str] | None = None
    captions: str | Mapping[str, str] | None = None
    root: str | None = None

    def read(self) -> Table:
        """All files as one table."""
        files = {"": self.path} if isinstance(self.path, str) else dict(self.path)
        paths = {split: existing(given) for split, given in files.items()}
        texts = {split: existing(given) for split, given in _by_split(self.captions).items()}
        given = _by_split(self.images)
        folders = {split: _folder(given.get(split), path) for split, path in paths.items()}
        root = _shared(list(folders.values())) if self.root is None else _folder(self.root)
        rows: list[dict[str, Any]] = []
        places: list[str] = []
        digest = hashlib.sha256()
        for split, path in paths.items():
            digest.update(f"{split} {fingerprint(path)}\n".encode())
            said: dict[Any, str] = {}
            if split in texts:
                digest.update(f"{split} {fingerprint(texts[split])}\n".encode())
                said = _captions(texts[split])
            for row in _rows(path, folders[split], root):
                rows.append({**row, "caption": said.get(row["image_id"]), "split": split})
                places.append(f"{path}:image {row['image_id']}")
        names = ["image", "width", "height", "boxes", "image_id", "caption", "split"]
        if not texts:
            names.remove("caption")
        if isinstance(self.path, str):
            names.remove("split")
        columns = {name: [row[name] for row in rows] for name in names}
        name = ", ".join(map(str, paths.values()))
        return Table(columns, name, digest.hexdigest(), root=root, places=places)


def _rows(path: Path, pictures: Path, root: Path) -> list[dict[str, Any]]:
    found = _parse(path, "images", "annotations", "categories")
    names = {one["id"]: str(one["name"]) for one in found["categories"]}
    sizes = {
        one["id"]: (_pixels(one.get("width")), _pixels(one.get("height")))
        for one in found["images"]
    }
    boxes: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for place, one in enumerate(found["annotations"]):
        where = f"{path}:annotation {one.get('id', place)}"
        if one["image_id"] not in sizes or one.get("category_id") not in names:
            raise DataError(
                215,
                f"an annotation of picture {one['image_id']} and category "
                f"{one.get('category_id')}, which the file does not have",
                where=where,
                fix="remove it, or add what is missing to images or categories",
            )
        box = _inside(one.get("bbox"), sizes[one["image_id"]], where)
        if box is not None:
            more = {"area": float(one["area"])} if one.get("area") is not None else {}
            boxes[one["image_id"]].append(
                {
                    "box": box,
                    "label": names[one["category_id"]],
                    "crowd": bool(one.get("iscrowd", 0)),
                    **more,
                }
            )
    if not pictures.is_relative_to(root):
        raise DataError(
            301,
            f"the pictures in '{pictures}' are not below the root '{root}'",
            where=str(path),
            fix="give a root that holds all pictures",
        )
    inner = "" if pictures == root else f"{pictures.relative_to(root).as_posix()}/"
    return [
        {
            "image": f"{inner}{one['file_name']}",
            "width": sizes[one["id"]][0],
            "height": sizes[one["id"]][1],
            "boxes": boxes[one["id"]],
            "image_id": one["id"],
        }
        for one in found["images"]
    ]


def _inside(given: Any, size: tuple[int | None, int | None], where: str) -> list[float] | None:
    """The box cut at the border of a picture of (width, height); None if nothing is left."""
    try:
        x, y, width, height = map(float, given)
    except (TypeError, ValueError):
        x = y = width = height = math.nan
    if not all(map(math.isfinite, (x, y, width, height))):
        raise DataError(
            215, f"'{given}' is no box", where=where, fix="give [x, y, width, height] in pixels"
        )
    right, bottom = size[0] or math.inf, size[1] or math.inf
    x0, x1 = max(x, 0.0), min(x + width, right)
    y0, y1 = max(y, 0.0), min(y + height, bottom)
    return [x0, y0, x1 - x0, y1 - y0] if x1 > x0 and y1 > y0 else None


def _captions(path: Path) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for one in _parse(path, "annotations")["annotations"]:
        found.setdefault(one["image_id"], str(one.get("caption", "")))
    return found


def _parse(path: Path, *wanted: str) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise _wrong(f"no JSON: {error}", path) from error
    for name in wanted:
        listed = content.get(name) if isinstance(content, dict) else None
        if not isinstance(listed, list):
            raise _wrong(f"no list '{name}'", path)
        for one in listed:
            missing = [key for key in _NEEDED[name] if not isinstance(one, dict) or key not in one]
            if missing:
                raise _wrong(f"one of '{name}' has no '{missing[0]}'", path)
    return content


def _pixels(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and value > 0 else None


def _by_split(given: str | Mapping[str, str] | None) -> dict[str, str]:
    if given is None:
        return {}
    return {"": given} if isinstance(given, str) else dict(given)


def _folder(given: str | None, beside: Path | None = None) -> Path:
    if given is None and beside is not None:
        return beside.parent.resolve()
    return folder(given or ".").resolve()


def _shared(folders: list[Path]) -> Path:
    """The deepest folder that holds all of them."""
    first, *rest = folders
    while not all(one.is_relative_to(first) for one in rest):
        first = first.parent
    return first


def _wrong(what: str, path: Path) -> DataError:
    return DataError(
        215, what, where=str(path), fix="give COCO's images, annotations and categories"
    )
