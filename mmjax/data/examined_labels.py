"""Labels and rows that contradict, repeat or give away each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from mmjax.core.errors import MMJaxError
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.duplicates import MEDIA, leaks, same
from mmjax.data.examined import Examined
from mmjax.data.modalities.base import Place
from mmjax.data.problems import Severity
from mmjax.data.targets.base import Target, cell_of, columns_of

_NAMED = 5


def labels(seen: Examined) -> None:
    """Labels of other rows that training rows do not have, rare ones, and ones that look alike."""
    for target in seen.targets.values():
        column, good = target.column, sorted(set(range(len(seen.table))) - seen.bad)
        train = np.intersect1d(seen.splits.get("train", np.array(good, np.int64)), good)
        try:
            processor = target.fit(seen.table, train)
        except MMJaxError as error:
            seen.error(error)
            continue
        columns = columns_of(target)
        for row in good:
            try:
                processor.encode(cell_of(seen.table, columns, row), Place(seen.table, row))
            except MMJaxError as error:
                seen.error(error, row)
        if target.role == "class" and not seen.table.lazy:
            _classes(seen, column)


def _classes(seen: Examined, column: str) -> None:
    counts = Counter(
        clean_text(key).strip()
        for cell in seen.table.column(column)
        if (key := key_of(cell)) is not None and key.strip()
    )
    severity: Severity = "error" if seen.config.split.on_rare_class == "raise" else "warning"
    single = [name for name, count in counts.items() if count == 1]
    if single:
        told = f"{len(single)} classes have one row only: {_listed(single)}"
        fix = "add rows, merge classes, or leave them out"
        seen.add(220, told, column=column, fix=fix, severity=severity)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        alike[" ".join(name.casefold().split())].append(name)
    for names in alike.values():
        if len(names) > 1:
            told = f"classes that differ in case or blanks alone: {_listed(names)}"
            seen.add(533, told, column=column, fix="write them alike", severity="warning")


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = ", ..." if len(names) > _NAMED else ""
    return ", ".join(repr(shown(name)) for name in names[:_NAMED]) + more


def repeated(seen: Examined) -> None:
    """Rows with the same inputs: with other labels, in other splits, or just twice."""
    if not seen.modalities:
        return
    split_of = {row: name for name, rows in seen.splits.items() for row in rows.tolist()}
    whole = _whole(seen)
    groups = same(whole)
    if len(seen.targets) == 1:
        _contradicting(seen, groups, next(iter(seen.targets.values())))
    leaked: set[int] = set()
    for split, pairs in leaks(groups, split_of).items():
        for row, other in pairs:
            leaked.add(row)
            told = f"the row of split '{split}' is in training as well: {seen.table.where(other)}"
            fix = "leave it out of one, or set data.split.group"
            seen.add(226, told, row=row, fix=fix)
    for rows in groups:
        for row in rows[1:]:
            if row not in leaked:
                told = f"the same inputs as {seen.table.where(rows[0])}"
                seen.add(225, told, row=row, fix="leave one out", severity="warning")
    if len(seen.modalities) == 1:
        return
    for name, found in seen.digests.items():
        if seen.config.modalities[name].name not in MEDIA:
            continue
        pairs = [pair for part in leaks(same(found), split_of).values() for pair in part]
        pairs = [pair for pair in pairs if pair[0] not in leaked]
        if pairs:
            row, other = pairs[0]
            places = f"{seen.table.where(row)} and {seen.table.where(other)}"
            told = f"{len(pairs)} rows have an {name} that training rows have too, as {places}"
            seen.add(226, told, fix="set data.split.group", severity="warning")


def _whole(seen: Examined) -> dict[int, bytes]:
    """By row, what all its modalities hold; without damaged rows."""
    empty = b"\0"
    rows = set().union(*seen.digests.values()) - seen.bad
    return {
        row: empty.join(found.get(row, empty) for found in seen.digests.values()) for row in rows
    }


def _contradicting(seen: Examined, groups: list[list[int]], target: Target) -> None:
    columns = columns_of(target)
    for rows in groups:
        labels: dict[str, int] = {}
        for row in rows:
            labels.setdefault(str(key_of(cell_of(seen.table, columns, row))), row)
        if len(labels) > 1:
            (first, one), (second, other) = list(labels.items())[:2]
            told = (
                f"the same inputs are '{shown(first)}' in {seen.table.where(one)} and "
                f"'{shown(second)}' here"
            )
            fix = "see which is right"
            seen.add(534, told, row=other, column=target.column, fix=fix, severity="warning")
