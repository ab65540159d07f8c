"""From the columns of a table to a proposed config: what each is, and why."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.registry import Spec
from mmjax.data.cells import aligned, key_of
from mmjax.data.config import SplitConfig, modalities
from mmjax.data.kinds import (
    FEW_DISTINCT,
    KINDS,
    Column,
    Kind,
    column_of,
    is_blank,
    is_id_name,
    sampled,
    separator_of,
    split_column,
)
from mmjax.data.modalities.base import Place
from mmjax.data.numbers import parse_number
from mmjax.data.table import Table, check_ids

_MOST_CLASSES = 100
_OPENED: Mapping[Kind, int] = {
    "image": 200,
    "audio": 8,
    "video": 4,
    "volume": 4,
    "points": 8,
}
"""How many files of a column are opened to see what they are."""
_KIND_OF_TARGET: Mapping[str, Kind] = {
    "category": "category",
    "labels": "labels",
    "number": "number",
}
_RARE = 0.002
"""A label that fewer of the rows have than this share is left out."""
_THINGS = {
    "image": "pictures",
    "audio": "sounds",
    "video": "videos",
    "volume": "volumes",
    "points": "sets of points",
}


@dataclasses.dataclass(frozen=True)
class Schema:
    """What was chosen for every column, and the settings of `DataConfig` that follow from it."""

    columns: tuple[Column, ...]
    label: str
    modalities: Mapping[str, Spec]
    targets: Mapping[str, Spec]
    split: SplitConfig
    id_column: str | None
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """The choices and their reasons, for a console."""
        rows = [(column.name, column.kind, column.reason) for column in self.columns]
        lines = aligned([("column", "taken for", "because"), *rows])
        for name, spec in self.modalities.items():
            several = spec.name == "image" and len(spec.options["columns"]) > 1
            views = " (views of one thing, one of which is seen at a time)" if several else ""
            lines.append(f"input {name}: {spec}{views}")
        lines += [f"target {name}: {spec}" for name, spec in self.targets.items()]
        lines.append(f"split: {_split_in_words(self.split)}")
        lines.append(f"rows are named by: {self.id_column or 'their number'}")
        lines += [f"warning: {warning}" for warning in self.warnings]
        example = next((c.name for c in self.columns if c.name != self.label), self.label)
        lines.append(f"to choose otherwise, name the kind: kinds={{'{example}': 'text'}}")
        return lines


def infer(
    table: Table,
    label: str,
    *,
    kinds: Mapping[str, str] | None = None,
    split: SplitConfig | None = None,
    id_column: str | None = None,
    allow_bad_images: bool = False,
    inputs: Collection[Kind] = ("text", "image", "number", "category"),
) -> Schema:
    """The schema of a table whose column `label` is to be predicted.

    `kinds`, `split` and `id_column` override what would be chosen. `inputs` are the kinds that the
    caller has encoders for; columns of other kinds are ignored. Raises DataError for an unknown
    column, a label that no registered target fits, columns that are all ignored, and media
    that do not open: the first of a sample, or with `allow_bad_images` if most of
    the sample does not.
    """
    table.column(label)
    said = {name: _kind(table, name, kind) for name, kind in (kinds or {}).items()}
    for name, kind in said.items():
        if kind == "labels" and name != label:
            raise ConfigError(
                106, f"kinds['{name}'] = 'labels', and it is not the label", fix="say text"
            )
        if kind in _OPENED and kind not in inputs:
            raise ConfigError(
                106,
                f"kinds['{name}'] = '{kind}', which no encoder is chosen for here",
                fix="write a config, whose modalities may be of any kind",
            )
    columns = {
        name: Column(name, said[name], "you said so") if name in said else column_of(table, name)
        for name in table.columns
    }
    target, why = target_of(table, label, said.get(label))
    label_kind = _KIND_OF_TARGET[target.name]
    columns[label] = Column(label, label_kind, f"the label: {why}")
    if split is None:
        found = split_column(table)
        classes = label if target.name == "category" else None
        split = _split(table, None if found in (*said, label) else found, classes)
    if split.column is not None:
        table.column(split.column)
        columns[split.column] = Column(split.column, "ignored", "names the split of each row")
    if id_column is None:
        id_column = _id_column(table, columns, label)
    else:
        check_ids(table, id_column)
    for name, column in columns.items():
        if column.kind in _OPENED and column.kind not in inputs:
            reason = f"{column.reason}: {column.kind}, which no encoder is chosen for here"
            columns[name] = dataclasses.replace(column, kind="ignored", reason=reason)
    learnt = [column for name, column in columns.items() if name not in (label, id_column)]
    for column in learnt:
        if column.kind in _OPENED:
            _open_media(table, column, allow_bad_images)
    proposed = propose(learnt)
    if not proposed:
        raise DataError(
            251,
            f"no column of '{table.name}' can be learnt from",
            fix="; ".join(f"{c.name}: {c.reason}" for c in learnt) or "add a column",
        )
    warnings = [f"'{c.name}': {c.warning}" for c in columns.values() if c.warning]
    warnings += [leak for column in learnt if (leak := leak_of(table, column, label))]
    return Schema(
        columns=tuple(columns.values()),
        label=label,
        modalities=proposed,
        targets={"label": target},
        split=split,
        id_column=id_column,
        warnings=tuple(warnings),
    )


def _kind(table: Table, name: str, kind: str) -> Kind:
    """The kind that a user named for a column, once both are known to exist."""
    table.column(name)
    for known in KINDS:
        if kind == known:
            return known
    raise ConfigError(106, f"kinds['{name}'] = '{kind}' is no kind", fix=nearest(kind, KINDS))


def propose(columns: Sequence[Column]) -> dict[str, Spec]:
    """Modalities of the columns: pictures as views of one, numbers and categories as one table, and
    each other medium its own.
    """
    by_kind = {kind: [c.name for c in columns if c.kind == kind] for kind in KINDS}
    found = {}
    if by_kind["image"]:
        found["image"] = Spec("image", columns=tuple(by_kind["image"]))
    if by_kind["number"] or by_kind["category"]:
        numbers, categories = tuple(by_kind["number"]), tuple(by_kind["category"])
        found["table"] = Spec("table", numbers=numbers, categories=categories)
    singles: dict[str, Spec] = {}
    for kind in ("text", "audio", "video", "volume", "points"):
        for name in by_kind[kind]:
            key = kind if len(by_kind[kind]) == 1 else _identifier(name, kind)
            while key in found or key in singles:
                key += f"_{kind}"
            singles[key] = Spec(kind, column=name)
    return {**singles, **found}


def _identifier(name: str, kind: str) -> str:
    """The name as one of a modality: folders and parameters are named by it."""
    kept = "".join(c if f"a{c}".isidentifier() else "_" for c in name)
    kept = re.sub("_+", "_", kept).strip("_")
    return kept if kept.isidentifier() else f"{kind}_{kept}".rstrip("_")


def target_of(table: Table, name: str, kind: Kind | None = None) -> tuple[Spec, str]:
    """The target of the label column, and why. `kind` is what the user said.

    Raises DataError for a column that no registered target fits.
    """
    if kind not in (None, *_KIND_OF_TARGET.values()):
        raise ConfigError(
            106,
            f"kinds['{name}'] = '{kind}', and it is the label",
            fix=f"valid: {', '.join(_KIND_OF_TARGET.values())}",
        )
    cells = table.column(name)
    known = [cell for cell in cells if not is_blank(cell)]
    lists = [cell for cell in known if isinstance(cell, (list, tuple, np.ndarray))]
    if kind in (None, "labels") and len(lists) * 2 > len(known) and not _are_vectors(lists):
        return _labels(name, len(cells), len(known), None)
    if kind in (None, "number") and lists and _are_vectors(lists):
        return Spec("number", column=name), f"lists of {len(lists[0])} numbers"
    classes = {key_of(cell) for cell in known}
    if len(classes) < 2:
        raise DataError(
            252, f"the label '{name}' has {len(classes)} different values", fix="choose another"
        )
    separator = separator_of(known) if kind in (None, "labels") else None
    if kind == "labels" or separator is not None:
        return _labels(name, len(cells), len(known), separator)
    if kind == "number" or (kind is None and _is_quantity(known, len(classes))):
        return Spec("number", column=name), f"{len(classes)} different numbers"
    if kind is None and len(classes) * 2 > len(known):
        raise DataError(
            254,
            f"the label '{name}' has {len(classes)} different values in {len(known)} rows",
            fix=f"choose a column whose values repeat, or say kinds={{'{name}': 'category'}}",
        )
    unlabelled = len(table) - len(known)
    more = f", and {unlabelled} rows without one" if unlabelled else ""
    return Spec("category", column=name), f"{len(classes)} classes in {len(known)} rows{more}"


def _labels(name: str, rows: int, known: int, separator: str | None) -> tuple[Spec, str]:
    """Sets of labels; those that hardly any row has are left out."""
    options: dict[str, Any] = {"column": name, "min_count": max(2, round(_RARE * rows))}
    why = f"lists of labels in {known} rows"
    if separator is not None:
        options["separator"] = separator
        why = f"labels with '{separator}' between them in {known} rows"
    if known < rows:
        options["missing"] = "none"
        why += f", none in {rows - known}"
    return Spec("labels", **options, others="ignore"), why


def _are_vectors(lists: Sequence[Any]) -> bool:
    """Whether lists hold numbers that are no whole ones, as many each."""
    numbers = [[parse_number(item) for item in one] for one in lists]
    if len({len(one) for one in numbers}) != 1:
        return False
    parsed = [number for one in numbers for number in one if number is not None]
    every = len(parsed) == sum(map(len, numbers)) > 0
    return every and not all(number.is_integer() for number in parsed)


def _is_quantity(cells: Sequence[Any], distinct: int) -> bool:
    """Whether labels are numbers to be predicted as such: fractions, or very many."""
    numbers = [number for cell in cells if (number := parse_number(cell)) is not None]
    few = min(_MOST_CLASSES, max(FEW_DISTINCT, 0.1 * len(cells)))
    whole = all(number.is_integer() for number in numbers)
    return len(numbers) == len(cells) and (distinct > few or not whole)


def split_of(table: Table, label: str) -> SplitConfig:
    """By the column that names splits, if there is one besides the label."""
    found = split_column(table)
    return _split(table, None if found == label else found, None)


def _split(table: Table, column: str | None, classes: str | None) -> SplitConfig:
    if column is None:
        return SplitConfig(stratify=classes)
    cells = {str(cell).strip().casefold() for cell in table.column(column)}
    names = {
        split: values if split == "train" or cells.intersection(values) else ()
        for split, values in SplitConfig().names.items()
    }
    return SplitConfig(column=column, names=names, stratify=classes)


def _split_in_words(split: SplitConfig) -> str:
    if split.column is None:
        parts = "/".join(f"{100 * fraction:g}" for fraction in split.fractions)
        by = f", stratified by '{split.stratify}'" if split.stratify else ""
        by += f", groups of '{split.group}' together" if split.group else ""
        return f"made, {parts} % train/validation/test{by}, seed {split.seed}"
    made = [name for name, values in split.names.items() if not values]
    more = f"; {' and '.join(made)} made from its training rows" if made else ""
    return f"given by the column '{split.column}'{more}"


def _id_column(table: Table, columns: Mapping[str, Column], label: str) -> str | None:
    """The first column named like an identifier that is different in every row."""
    for name, column in columns.items():
        unique = column.missing == 0 and column.distinct == len(table)
        if column.kind == "identifier" and unique and is_id_name(name) and name != label:
            return name
    return None


def _open_media(table: Table, column: Column, allow_bad: bool) -> None:
    """Raises DataError if media of the column do not open."""
    columns = {"columns": (column.name,)} if column.kind == "image" else {"column": column.name}
    modality = modalities.build(column.kind, **columns)
    cells = table.column(column.name)
    rows = [r for r in sampled(len(table), _OPENED[column.kind]) if cells[r] is not None]
    failed = []
    for row in rows:
        try:
            modality.check({column.name: cells[row]}, Place(table, row), decode=True)
        except DataError as error:
            failed.append(error)
            if not allow_bad:
                break
    if failed and (not allow_bad or len(failed) * 2 > len(rows)):
        first = failed[0]
        raise DataError(
            first.code,
            f"'{column.name}' was taken for {_THINGS[column.kind]} ({column.reason}), "
            f"but {first.what}",
            where=first.where,
            fix=f"{first.fix}; or say kinds={{'{column.name}': 'ignored'}}",
        ) from first


def leak_of(table: Table, column: Column, label: str) -> str:
    """A warning if every value of a column that is learnt from has one label only."""
    unlike = column.distinct is not None and column.distinct * 2 > len(table)
    if column.kind not in ("text", "category", "number") or unlike:
        return ""
    label_of: dict[str, str] = {}
    count = 0
    for cell, answer in zip(table.column(column.name), table.column(label), strict=True):
        key, labelled = key_of(cell), key_of(answer)
        if key is not None and labelled is not None:
            count += 1
            if label_of.setdefault(key, labelled) != labelled:
                return ""
    if len(label_of) * 2 > count:
        return ""
    one_to_one = len(set(label_of.values())) == len(label_of)
    how = "is one to one with" if one_to_one else f"has {len(label_of)} values that each determine"
    return (
        f"'{column.name}' {how} the label '{label}': if it is not known when predicting, leave it "
        f"out with kinds={{'{column.name}': 'ignored'}}"
    )
