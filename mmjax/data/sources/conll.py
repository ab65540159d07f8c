"""Rows from files of one tagged word a line."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.packages import locate
from mmjax.data.cells import clean_text, shown
from mmjax.data.sources.files import existing, fingerprint, folder, text_lines
from mmjax.data.table import BadRow, Table

Scheme = Literal["auto", "IOB1", "BIO", "BIOES", "words"]
_MADE = ("text", "spans", "split", "picture")


@dataclasses.dataclass(frozen=True)
class Conll:
    """Files of one word a line with its tag, sentences apart by blank lines (Sang and Buchholz
    2000).

    `path` is a file, or files by split: `{"train": "train.txt", "test": "test.txt"}`; one that an
    installed package ships is "package:NAME/folder/train.txt". Columns are `text`, the words joined
    by blanks; `spans`, a list of `{"start", "end", "label"}` in the characters of that text; and,
    of several files, `split`. A line "IMGID:123" before a sentence
    gives it a `picture`, "123.jpg" by `picture`'s pattern (Lu et al. 2018), relative to `root` or
    the file's folder. Lines "-DOCSTART-", and those that begin with `comment`, are left out.

    Tags are BIO (each entity begins with B), IOB1 (B only where two of a kind meet), or BIOES with
    BILOU's letters as well; "auto" reads any of these as conlleval does: a tag that goes on with
    nothing begins an entity. With `scheme="words"` each word has its tag as a label, as parts of
    speech do. A line with too few fields, or a tag that is none, makes its sentence a bad row.
    """

    path: str | Mapping[str, str]
    root: str | None = None
    word: int = 0
    """The field of a line with its word."""
    tag: int = -1
    """The field of a line with its tag."""
    delimiter: str | None = None
    """What fields are apart by; blanks and tabs if None."""
    comment: str | None = None
    """What lines begin with that are no words, such as "# " in CoNLL-U."""
    scheme: Scheme = "auto"
    picture: str = "{}.jpg"
    encoding: str = "utf-8"

    def read(self) -> Table:
        """All files as one table."""
        if "{}" not in self.picture:
            raise ConfigError(
                106, f"picture = '{self.picture}'", where="source conll", fix="such as '{}.jpg'"
            )
        files = {"": self.path} if isinstance(self.path, str) else dict(self.path)
        rows: list[dict[str, object]] = []
        lines: list[int] = []
        places: list[str] = []
        bad: list[BadRow] = []
        digest = hashlib.sha256()
        paths = []
        for split, given in files.items():
            path = _file(given)
            paths.append(path)
            digest.update(f"{split} {fingerprint(path)}\n".encode())
            for first, sentence in self._sentences(path):
                made = self._row(path, first, sentence)
                if isinstance(made, BadRow):
                    bad.append(made)
                    continue
                rows.append({**made, "split": split})
                lines.append(first)
                places.append(f"{path}:{first}")
        if not rows:
            if bad:
                raise bad[0].error(len(bad) - 1)
            raise DataError(201, "no sentence", where=str(paths[0]), fix="one word a line")
        some = {name for row in rows for name, cell in row.items() if cell not in (None, "")}
        return Table(
            columns={name: [row.get(name) for row in rows] for name in _MADE if name in some},
            name=str(paths[0]) if len(paths) == 1 else str(paths[0].parent),
            fingerprint=digest.hexdigest(),
            root=paths[0].parent if self.root is None else folder(self.root),
            lines=lines,
            places=places if len(paths) > 1 else None,
            bad=tuple(bad),
        )

    def _sentences(self, path: Path) -> Iterator[tuple[int, list[tuple[int, str]]]]:
        """The lines of each sentence with their numbers, and the number of the first."""
        sentence: list[tuple[int, str]] = []
        for number, raw in enumerate(text_lines(path, self.encoding), 1):
            line = raw.rstrip("\r\n")
            if self.comment is not None and line.startswith(self.comment):
                continue
            if line.strip() and not line.startswith("-DOCSTART-"):
                sentence.append((number, line))
            elif any(not _is_picture(one) for _, one in sentence):
                yield sentence[0][0], sentence
                sentence = []
        if any(not _is_picture(one) for _, one in sentence):
            yield sentence[0][0], sentence

    def _row(
        self, path: Path, first: int, lines: list[tuple[int, str]]
    ) -> dict[str, object] | BadRow:
        words: list[str] = []
        tags: list[str] = []
        picture = None
        need = max(self.word, self.tag, -self.word - 1, -self.tag - 1) + 1
        for number, line in lines:
            if _is_picture(line):
                picture = self.picture.format(line.strip()[len("IMGID:") :].strip())
                continue
            fields = line.split(self.delimiter)
            if len(fields) < max(need, 2):
                what = f"'{shown(line)}' has {len(fields)} fields"
                return BadRow(str(path), number, None, 203, what, "a word and its tag")
            words.append(clean_text(fields[self.word].strip()).replace(" ", "_"))
            tags.append(clean_text(fields[self.tag].strip()))
            if not words[-1] or not tags[-1]:
                what = f"'{shown(line)}' has an empty field"
                return BadRow(str(path), number, None, 203, what, "a word and its tag")
        try:
            parts = chunks(tags, self.scheme)
        except ValueError as error:
            return BadRow(
                str(path), first, "spans", 531, str(error), "tags such as B-PER, I-PER, O"
            )
        starts, ends, at = [], [], 0
        for word in words:
            starts.append(at)
            ends.append(at + len(word))
            at += len(word) + 1
        spans = [{"start": starts[a], "end": ends[b], "label": kind} for kind, a, b in parts]
        row: dict[str, object] = {"text": " ".join(words), "spans": spans}
        return row if picture is None else {**row, "picture": picture}


def chunks(tags: list[str], scheme: Scheme = "auto") -> list[tuple[str, int, int]]:
    """Kind, first and last word of each entity; raises ValueError for what is no tag."""
    if scheme == "words":
        return [(tag, i, i) for i, tag in enumerate(tags)]
    found: list[tuple[str, int, int]] = []
    before, kind_before = "O", ""
    for i, tag in enumerate(tags):
        prefix, kind = _parts(tag, scheme)
        if prefix != "O":
            new = prefix in "BS" or before in "OES" or kind != kind_before
            if new:
                found.append((kind, i, i))
            else:
                found[-1] = (kind, found[-1][1], i)
        before, kind_before = prefix, kind
    return found


_LETTERS = {"auto": "BIESLU", "IOB1": "BI", "BIO": "BI", "BIOES": "BIESLU"}


def _parts(tag: str, scheme: str) -> tuple[str, str]:
    if tag == "O":
        return "O", ""
    prefix, dash, kind = tag.partition("-")
    if prefix not in tuple(_LETTERS[scheme]) or not dash or not kind:
        raise ValueError(f"'{shown(tag)}' is no tag of {scheme}")
    return {"L": "E", "U": "S"}.get(prefix, prefix), kind


def _file(given: str) -> Path:
    before, slash, name = given.rpartition("/")
    return existing(Path(locate(before)) / name if slash and before else given)


def _is_picture(line: str) -> bool:
    return line.startswith("IMGID:") and len(line.split()) == 1
