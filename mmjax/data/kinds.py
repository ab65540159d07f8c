"""What a column holds, told from its cells, with the reason in words."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mmjax.data import array_files
from mmjax.data.cells import key_of, shown
from mmjax.data.config import SplitConfig, modalities
from mmjax.data.numbers import parse_number
from mmjax.data.paths import open_media
from mmjax.data.table import Table

Kind = Literal[
    "text",
    "image",
    "audio",
    "video",
    "volume",
    "points",
    "number",
    "category",
    "labels",
    "identifier",
    "ignored",
]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)

MEDIA: Mapping[Kind, tuple[str, tuple[str, ...]]] = {
    "image": ("picture", (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")),
    "audio": ("sound", (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus")),
    "video": ("video", (".mp4", ".mov", ".m4v", ".3gp", ".mkv", ".webm", ".avi")),
    "volume": ("volume", (".nii", ".nii.gz", ".dcm")),
    "points": ("point", (".ply", ".xyz")),
}
"""What files of each kind are called, and how their names end."""
_OTHER_MEDIA: Mapping[str, tuple[str, ...]] = {
    "sounds": (".m4a", ".aac", ".wma", ".aif", ".aiff", ".amr"),
    "videos": (".wmv", ".flv", ".mpg", ".mpeg", ".ts"),
    "arrays": (".h5", ".hdf5", ".mat"),
    "tables": (".csv", ".tsv"),
    "documents": (".pdf", ".svg", ".html", ".docx"),
}
_ID_NAME = re.compile(r"(?i:(.*[_ .-])?(id|idx|index|uuid|guid|key|row))|.*[a-z](Id|ID|Index)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]+(Z|[+-][0-9:]+)?)?")
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SOUND = re.compile(rb"(RIFF|RF64)....WAVE|fLaC|OggS|ID3|\xff[\xf2\xf3\xfa\xfb]", re.DOTALL)
_VIDEO = re.compile(rb"RIFF....AVI |....ftyp(?!avi|hei|mif)|\x1aE\xdf\xa3", re.DOTALL)
_SPLIT_NAMES = ("split", "fold", "subset", "partition", "set")

_SEPARATORS = (";", "|", ",")

FEW_DISTINCT = 20
"""Fewer values than this, and than a tenth of the rows, make a column a category."""
_MOSTLY = 0.9
_SAMPLE = 500
_SAMPLED_TEXTS = 5000
_LONGEST = 10_000
_HEADERS = 8
_ARRAYS = (".npy", ".npz")
_MEASURED = range(3, 9)
"""So many columns make a file's array with two axes a set of points."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column and what it was taken for. Counts are None for media that are read lazily."""

    name: str
    kind: Kind
    reason: str
    missing: int | None = None
    distinct: int | None = None
    warning: str = ""


def sampled(rows: int, most: int = _SAMPLE) -> list[int]:
    """At most so many rows, evenly spaced from the first to the last."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(int)).tolist()


def is_id_name(name: str) -> bool:
    """Whether a column is named like an identifier: `id`, `row_index`, `patientId`."""
    return _ID_NAME.fullmatch(name) is not None


def split_column(table: Table) -> str | None:
    """The column named like a split whose cells are, most of them, names of splits."""
    known = {value for values in SplitConfig().names.values() for value in values}
    for name, cells in table.columns.items():
        if name.strip().casefold() in _SPLIT_NAMES:
            named = sum(str(cell).strip().casefold() in known for cell in cells)
            if named * 2 > len(table):
                return name
    return None


def column_of(table: Table, name: str) -> Column:
    """What the column holds.

    Pictures, sounds and videos (paths, bytes, arrays), then few distinct values, numbers, text of
    three words a cell or more, as AutoGluon tells them; short text is a category if its values
    repeat and an identifier if each is a word of its own. Nothing is opened, but the headers of a
    few files of arrays.
    """
    cells = table.column(name)
    sample = [cell for row in sampled(len(table)) if (cell := cells[row]) is not None]
    objects = [cell for cell in sample if not isinstance(cell, (str, int, float))]
    if len(objects) * 2 > len(sample):
        return _of_objects(name, cells, objects)
    known = [cell for cell in cells if not is_blank(cell)]
    missing = len(cells) - len(known)
    distinct = len(set(map(key_of, known)))
    kind, reason, warning = _of_values(table, name, known, distinct)
    return Column(name, kind, reason, missing, distinct, warning)


def separator_of(cells: Sequence[Any]) -> str | None:
    """What stands between the names of sets of labels that are written as text; None if they are
    none.

    Sets differ in size, share their names, and are made of short ones: there are fewer names than
    sets, each is in two sets or more on average, and has three words at the most.
    """
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    for separator in _SEPARATORS:
        sets = [[part.strip() for part in text.split(separator) if part.strip()] for text in texts]
        sizes = {len(one) for one in sets}
        if sum(len(one) > 1 for one in sets) * 10 < len(sets) or len(sizes) < 2:
            continue
        parts = [part for one in sets for part in one]
        names = set(parts)
        short = sum(len(name.split()) <= 3 for name in names) >= _MOSTLY * len(names)
        if short and len(names) * 2 <= len(parts) and len(names) < len(set(texts)):
            return separator
    return None


def is_blank(cell: Any) -> bool:
    """Whether a cell is missing, or text of blanks."""
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _of_objects(name: str, cells: Sequence[Any], objects: Sequence[Any]) -> Column:
    first = objects[0]
    missing = sum(cell is None for cell in cells) if isinstance(cells, list) else None
    if isinstance(first, dict) and {"array", "sampling_rate"} <= first.keys():
        return Column(name, "audio", "arrays of samples, each with its rate", missing)
    if isinstance(first, dict) and _SOUND.match(first.get("bytes") or b""):
        return Column(name, "audio", "encoded sounds, each with its path", missing)
    if isinstance(first, (list, dict)):
        reason = f"structured cells ({shown(first)})"
        return Column(name, "ignored", reason, missing)
    if isinstance(first, np.ndarray) and first.dtype == np.uint8 and first.ndim == 4:
        return Column(name, "video", f"arrays of frames ({shown(first)})", missing)
    if isinstance(first, np.ndarray) and not _is_picture(first):
        if _kind_of_shape(first.shape, first.dtype) == "volume":
            return Column(
                name, "volume", f"arrays with three axes of space ({shown(first)})", missing
            )
        return Column(name, "ignored", f"arrays that are no pictures ({shown(first)})", missing)
    if isinstance(first, bytes) and _SOUND.match(first):
        return Column(name, "audio", f"encoded sounds ({shown(first)})", missing)
    if isinstance(first, bytes) and _VIDEO.match(first):
        return Column(name, "video", f"encoded videos ({shown(first)})", missing)
    if isinstance(first, (np.ndarray, bytes)) or hasattr(first, "getbands"):
        what = "encoded bytes" if isinstance(first, bytes) else "arrays"
        what = "pictures" if hasattr(first, "getbands") else what
        return Column(name, "image", f"{what} ({shown(first)})", missing)
    return Column(name, "ignored", f"cells of type {type(first).__name__}", missing)


def _is_picture(array: np.ndarray) -> bool:
    channels = array.shape[-1] if array.ndim == 3 else 1
    return array.dtype == np.uint8 and array.ndim in (2, 3) and channels in (1, 3, 4)


def _kind_of_shape(shape: tuple[int, ...], dtype: np.dtype) -> Kind | None:
    """What an array of numbers must be; None where several modalities could be meant."""
    colours = len(shape) == 3 and shape[-1] in (1, 3, 4)
    if dtype.kind in "iuf" and len(shape) in (3, 4) and not colours:
        return "volume"
    if dtype.kind in "iuf" and len(shape) == 2 and shape[1] in _MEASURED:
        return "points"
    return None


def _of_array_files(table: Table, name: str, known: Sequence[Any]) -> tuple[Kind, str, str] | None:
    """By the header of the first file that has one; None for cells that are no such files."""
    paths = [cell for cell in known if isinstance(cell, str) and _has_suffix(cell, _ARRAYS)]
    if len(paths) * 2 < len(known):
        return None
    for path in paths[:_HEADERS]:
        with contextlib.suppress(Exception):  # readers raise nearly anything for damaged files
            with open_media(table.root_of(name), path, where=name) as file:
                shape, dtype = array_files.shape_of(file)
            axes = f"arrays such as {dtype} {list(shape)}"
            kind = _kind_of_shape(shape, dtype)
            if kind is not None:
                return kind, axes, ""
            return "ignored", f"{axes}: no volumes, and no sets of points", ""
    return "ignored", "files of arrays, none of which says what it holds", ""


def _of_values(
    table: Table, name: str, known: Sequence[Any], distinct: int
) -> tuple[Kind, str, str]:
    if not known:
        return "ignored", "no cell has a value", ""
    if distinct == 1 and len(known) == len(table):
        return "ignored", f"every cell is '{shown(known[0])}'", ""
    if all(isinstance(cell, bool) for cell in known):
        return "category", "true or false", ""
    sample = [known[i] for i in sampled(len(known), _SAMPLED_TEXTS)]
    arrays = _of_array_files(table, name, sample)
    if arrays is not None:
        return arrays
    numeric = None
    # A column of text is not parsed to its end.
    if len(_parsed(sample)[1]) * 2 <= len(sample):
        numeric = _of_numbers(table, name, known, distinct)
    texts = [str(cell)[:_LONGEST] for cell in sample]
    return numeric or (*_of_strings(name, texts, len(known), distinct), "")


def _parsed(cells: Sequence[Any]) -> tuple[list[float], list[int]]:
    """The numbers among cells that are there, and the positions of those that are neither numbers
    nor stand for a missing one.
    """
    tokens = modalities.settings("table")["missing"].default
    numbers, wrong = [], []
    for i, cell in enumerate(cells):
        number = parse_number(cell)
        if number is not None:
            numbers.append(number)
        elif not (isinstance(cell, str) and cell.strip() in tokens):
            wrong.append(i)
    return numbers, wrong


def _of_numbers(
    table: Table, name: str, known: Sequence[Any], distinct: int
) -> tuple[Kind, str, str] | None:
    numbers, wrong = _parsed(known)
    if not numbers or len(wrong) > (1 - _MOSTLY) * (len(numbers) + len(wrong)):
        return None
    warning = ""
    if wrong:
        cell = known[wrong[0]]
        row = next(row for row, other in enumerate(table.column(name)) if other == cell)
        place = table.where(row, name)
        warning = f"{len(wrong)} of its cells are no numbers, the first '{shown(cell)}' at {place}"
    whole = all(number.is_integer() for number in numbers)
    if whole and len(numbers) == len(table) > 4 and np.all(np.diff(numbers) == 1):
        return "identifier", "counts the rows", warning
    if whole and is_id_name(name) and distinct > FEW_DISTINCT:
        return "identifier", _identifier_reason(distinct, len(numbers)), warning
    if whole and distinct < min(FEW_DISTINCT, 0.1 * len(table)):
        return "category", f"{distinct} whole numbers in {len(numbers)} rows", warning
    return "number", f"numbers from {min(numbers):g} to {max(numbers):g}", warning


def _identifier_reason(distinct: int, count: int) -> str:
    if distinct == count:
        return "named like an identifier, and different in every row"
    return "named like an identifier; rows that share it stay together with split.group"


def _of_strings(name: str, sample: Sequence[str], count: int, distinct: int) -> tuple[Kind, str]:
    for kind, (thing, suffixes) in MEDIA.items():
        paths = sum(_has_suffix(cell, suffixes) for cell in sample)
        if paths * 2 >= len(sample):
            return kind, f"{paths} of {len(sample)} cells end like {thing} files"
    for what, suffixes in _OTHER_MEDIA.items():
        if sum(_has_suffix(cell, suffixes) for cell in sample) * 2 >= len(sample):
            return "ignored", f"files of {what}, and no modality reads them"
    if sum(_DATE.fullmatch(cell) is not None for cell in sample) >= _MOSTLY * len(sample):
        return "ignored", "dates or times, and no modality reads them"
    words = sum(map(_words, sample)) / len(sample)
    values = f"{distinct} different values in {count} rows"
    if distinct < min(FEW_DISTINCT, 0.1 * count):
        return "category", values
    if words >= 3:
        return "text", f"{words:.1f} words a cell"
    if distinct * 2 <= count:
        return "category", f"short, and values repeat: {values}"
    if is_id_name(name) and words < 1.5:
        return "identifier", _identifier_reason(distinct, count)
    if words < 1.1 and distinct >= 0.95 * count:
        return "identifier", "one word a cell, and different in every row"
    return "text", f"short ({words:.1f} words a cell), but {values}"


def _has_suffix(cell: str, suffixes: tuple[str, ...]) -> bool:
    return cell.strip().lower().endswith(suffixes) and len(cell) < 1024 and "\n" not in cell


def _words(cell: str) -> int:
    """Words of a cell; two characters of a script that writes no spaces count as one."""
    return len(cell.split()) + len(_WITHOUT_SPACES.findall(cell)) // 2
