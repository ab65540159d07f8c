"""Row by row: cells that are damaged, and what the others hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmjax.core.errors import MMJaxError
from mmjax.data import quarantine
from mmjax.data.duplicates import digest
from mmjax.data.examined import Examined
from mmjax.data.modalities.base import Modality, Place
from mmjax.data.targets.base import cell_of, columns_of

Told = Callable[[int, int], None]
"""Called with the rows that are done, and how many there are."""

_AT_ONCE = 256


def rows(seen: Examined, decode: bool, told: Told | None) -> dict[str, int]:
    """Checks every cell of every row; how many rows have each modality."""
    counts: Counter[str] = Counter()
    seen.digests = {name: {} for name in seen.modalities}
    total = len(seen.table)

    def look(row: int) -> tuple[list[MMJaxError], dict[str, bytes | None]]:
        return _look(seen, row, decode)

    with ThreadPoolExecutor(max(1, seen.config.threads)) as pool:
        for start in range(0, total, _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, total))
            for row, (errors, digests) in zip(part, pool.map(look, part), strict=True):
                for error in errors:
                    seen.error(error, row)
                for name, value in digests.items():
                    counts[name] += 1
                    if value is not None:
                        seen.digests[name][row] = value
                if seen.modalities and not digests:
                    seen.error(
                        quarantine.without_modality(Place(seen.table, row), seen.modalities), row
                    )
                if told is not None:
                    told(row + 1, total)
    return {name: counts[name] for name in seen.modalities}


def _look(
    seen: Examined, row: int, decode: bool
) -> tuple[list[MMJaxError], dict[str, bytes | None]]:
    """The errors of a row, and what each modality that it has holds; None of a damaged one."""
    place = Place(seen.table, row)
    errors: list[MMJaxError] = []
    held: dict[str, bytes | None] = {}
    for target in seen.targets.values():
        try:
            target.check(cell_of(seen.table, columns_of(target), row), place)
        except MMJaxError as error:
            errors.append(error)
    for name, modality in seen.modalities.items():
        try:
            cells = {column: seen.table.columns[column][row] for column in modality.reads()}
        except MMJaxError as error:  # a lazy row may be what is damaged
            errors.append(error)
            continue
        found = list(_damaged(modality, cells, place, decode))
        errors += [error for error in found if error is not None]
        if found == [None]:
            held[name] = digest(seen.config.modalities[name].name, cells, place)
        elif found:
            held[name] = None
    return errors, held


def _damaged(
    modality: Modality, cells: Mapping[str, Any], place: Place, decode: bool
) -> Iterator[MMJaxError | None]:
    """The error of each damaged cell; None alone where there is none, nothing for a missing one."""
    left = dict(cells)
    for _ in cells:
        try:
            if modality.check(left, place, decode=decode) and left == cells:
                yield None
            return
        except MMJaxError as error:
            yield error
            column = error.where.rpartition(":")[2]
            if left.get(column) is None:
                return
            left[column] = None
