"""Labelled parts of a text, as cells hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Int
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.listed import listed

_LABELS = ("label", "type", "entity_group", "entity", "role")
EMPTY = -1
"""What stands in arrays of spans where there is none."""

Overlaps = Literal["refuse", "longest", "keep"]
"""What spans do that share characters."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Span:
    """The characters `start` to `end`, half open, and what they are called."""

    start: int
    end: int
    label: str


def read_spans(cell: Any, where: str, *, text: str | None = None) -> list[Span]:
    """The spans of a cell in the order of their characters, a longer one before a shorter.

    A cell is a list of `{"start", "end", "label"}` or `[start, end, label]`, or such a list as
    JSON text; the label may be called type, entity_group, entity or role as well. Where the `text`
    is known, spans must lie in it, and a span with a "text" of its own must have it there. Raises
    DataError, naming the place, for anything else.
    """
    found = sorted(_span(one, where, text) for one in listed(cell, lambda: _not_spans(cell, where)))
    return sorted(dict.fromkeys(found), key=lambda span: (span.start, -span.end, span.label))


def against_text(
    cell: Any,
    text: str | None,
    where: str,
    *,
    missing: Literal["refuse", "none"],
    what: str,
) -> tuple[Any, str | None]:
    """A cell of `what` and the text that its parts must lie in, None if there is none to hold them
    against.

    The cell comes with its text beside it where `text`, the text's column, is set. An empty cell is
    an empty list with `missing="none"`; DataError is raised for it otherwise.
    """
    whole = None
    if text is not None:
        cell, raw = cell
        whole = "" if raw is None else str(raw)
    if cell is not None and not (isinstance(cell, str) and not cell.strip()):
        return cell, whole
    if missing == "none":
        return [], whole
    raise DataError(
        530,
        f"the row has no {what}",
        where=where,
        fix="give an empty list if it has none, or set missing=none",
    )


def without_overlaps(spans: Sequence[Span], rule: Overlaps, where: str) -> list[Span]:
    """The spans by a rule for those that share characters; raises DataError if it is "refuse"."""
    if rule == "keep":
        return list(spans)
    kept: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.start - one.end, one.start)):
        other = next((o for o in kept if span.start < o.end and o.start < span.end), None)
        if other is None:
            kept.append(span)
        elif rule == "refuse":
            raise DataError(
                531,
                f"'{span.label}' {span.start} to {span.end} and '{other.label}' {other.start} to "
                f"{other.end} share characters",
                where=where,
                fix="a token has one tag: set overlaps=longest, or overlaps=keep for other tasks",
            )
    return sorted(kept)


def padded(
    rows: Sequence[Int[np.ndarray, "k c"] | None], most: int, columns: int
) -> Int[np.ndarray, "b most columns"]:
    """int32 rows of each example, -1 where there are no more."""
    batch = np.full((len(rows), most, columns), EMPTY, np.int32)
    for i, row in enumerate(rows):
        if row is not None and len(row):
            batch[i, : len(row)] = row
    return batch


def too_many(count: int, most: int, where: str, setting: str) -> DataError:
    """The error of a row that has more spans than arrays have room for."""
    return DataError(
        531,
        f"the row has {count} spans, and there is room for {most}",
        where=where,
        fix=f"set {setting}={count} or more",
    )


def _span(one: Any, where: str, text: str | None) -> Span:
    said = None
    if isinstance(one, Mapping):
        start, end, said = one.get("start"), one.get("end"), one.get("text")
        label = next((one[name] for name in _LABELS if one.get(name) is not None), None)
    elif isinstance(one, (list, tuple)) and len(one) == 3:
        start, end, label = one
    else:
        raise _not_spans(one, where)
    first, last = _whole(start), _whole(end)
    name = clean_text(key_of(label) or "").strip()
    if first is None or last is None or not 0 <= first < last or not name:
        raise DataError(
            531,
            f"start {shown(start)}, end {shown(end)}, label {shown(label)} are no span",
            where=where,
            fix="characters from 0, the end one past the last, and a name",
        )
    if text is not None:
        _check_text(first, last, said, text, where)
    return Span(first, last, name)


def _check_text(start: int, end: int, said: Any, text: str, where: str) -> None:
    advice = "characters are counted from 0 in the text in Unicode's composed form (NFC)"
    if end > len(text):
        raise DataError(
            531,
            f"a span ends at {end}, and the text has {len(text)} characters",
            where=where,
            fix=advice,
        )
    if isinstance(said, str) and clean_text(said) != text[start:end]:
        raise DataError(
            531,
            f"a span says '{shown(said)}', and the text has '{shown(text[start:end])}' there",
            where=where,
            fix=advice,
        )


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if value == int(value) else None


def _not_spans(cell: Any, where: str) -> DataError:
    return DataError(
        531,
        f"'{shown(cell)}' is no span, nor a list of some",
        where=where,
        fix='give a list of {"start": 0, "end": 3, "label": "name"}',
    )
