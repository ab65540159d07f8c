"""MovieLens-100K, from the data of a package that need not be imported."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.core.packages import locate
from mmjax.data.histories import Histories
from mmjax.data.sources.files import existing
from mmjax.data.table import Table

INSTALL = "pip install --no-deps recbole==1.2.1"
FOLDER = "package:recbole/dataset_example/ml-100k"


@dataclasses.dataclass(frozen=True)
class MovieLens:
    """Who watched what next: 943 users, 100,000 ratings of 1,682 films (Harper & Konstan 2015).

    Columns: `user`, `age`, `gender`, `occupation` (text), `history` (the films that the user had
    rated before, the oldest first), `item` (the film, or the list of them that were held out),
    `rating` (a number, None where several were held out), `time` and `split`. Of each user the last
    `held_out` films by time are the test row, the `held_out` before them the validation row; the
    others train: one row each (`rows="interactions"`), or with `rows="users"` one row of the last
    of them. Ratings of equal time follow each other by film. A user of too few films only trains.

    Raises MissingExtra if the package is not there, DataError for files that hold something else.
    """

    held_out: int = 1
    rows: Literal["interactions", "users"] = "interactions"
    folder: str = FOLDER

    def __post_init__(self) -> None:
        if self.held_out < 1:
            raise ConfigError(
                106, f"held_out = {self.held_out}", where="source movielens", fix="1 or more"
            )

    def read(self) -> Table:
        """All rows, user by user."""
        folder = _folder(self.folder)
        people = {row["user_id"]: row for row in _rows(folder / "ml-100k.user", "user_id")}
        watched: dict[str, list[tuple[float, int, float]]] = defaultdict(list)
        for row in _rows(folder / "ml-100k.inter", "user_id", "item_id", "rating", "timestamp"):
            one = (float(row["timestamp"]), int(row["item_id"]), float(row["rating"]))
            watched[row["user_id"]].append(one)
        names = ("user", "age", "gender", "occupation")
        columns: dict[str, Any] = {name: [] for name in (*names, "item", "rating", "time", "split")}
        histories = Histories()
        for user in sorted(watched, key=int):
            films = sorted(watched[user])
            told = people.get(user, {})
            about = (user, *(told.get(name) or None for name in names[1:]))
            whole = histories.add([str(film) for _, film, _ in films])
            for start, stop, split in self._parts(len(films)):
                part = films[start:stop]
                alone = len(part) == 1
                histories.row(whole, start)
                items = [str(film) for _, film, _ in part]
                cells = (
                    *about,
                    items[0] if alone else items,
                    part[0][2] if alone else None,
                    part[0][0],
                    split,
                )
                for name, cell in zip(columns, cells, strict=True):
                    columns[name].append(cell)
        digest = hashlib.sha256(repr(self).encode())
        for name in ("ml-100k.inter", "ml-100k.user"):
            digest.update((folder / name).read_bytes())
        return Table(
            columns={**columns, "history": histories},
            name="movielens",
            fingerprint=digest.hexdigest(),
        )

    def _parts(self, count: int) -> list[tuple[int, int, str]]:
        """Of a user of so many films, which are the row's own, and its split."""
        held = self.held_out
        trained = count - 2 * held
        if trained < 1:
            return [(i, i + 1, "train") for i in range(count)]
        first = 0 if self.rows == "interactions" else trained - 1
        return [
            *((i, i + 1, "train") for i in range(first, trained)),
            (trained, trained + held, "validation"),
            (trained + held, count, "test"),
        ]


@dataclasses.dataclass(frozen=True)
class MovieLensItems:
    """The 1,682 films: `item`, `title`, `year` (a number or None) and `genres` (words)."""

    folder: str = FOLDER

    def read(self) -> Table:
        """All films. Raises as `MovieLens` does."""
        path = _folder(self.folder) / "ml-100k.item"
        columns: dict[str, list[Any]] = {name: [] for name in ("item", "title", "year", "genres")}
        for row in _rows(path, "item_id", "movie_title", "release_year", "class"):
            year = row["release_year"]
            columns["item"].append(row["item_id"])
            columns["title"].append(row["movie_title"] or None)
            columns["year"].append(float(year) if year.isdecimal() else None)
            columns["genres"].append(row["class"] or None)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Table(columns=columns, name="movielens_items", fingerprint=digest)


def _folder(source: str) -> Path:
    try:
        return Path(locate(source))
    except ConfigError as error:
        raise MissingExtra(114, f"movielens reads {error.what}", fix=INSTALL) from error


def _rows(path: Path, *names: str) -> list[dict[str, str]]:
    """The rows of a file of tabs, columns named `name:type`; `names` must be among them."""
    try:
        with existing(path).open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            215, f"no such data as movielens reads: {error}", where=str(path)
        ) from error
    header = [cell.partition(":")[0] for cell in lines[0]] if lines else []
    if not set(names) <= set(header) or any(len(line) != len(header) for line in lines):
        raise DataError(
            215,
            f"no such data as movielens reads: columns {header}",
            where=str(path),
            fix=INSTALL,
        )
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]
