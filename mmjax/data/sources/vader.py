"""Rated snippets of four kinds of text, from the source distribution of a package."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import io
import tarfile
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.data.numbers import parse_number
from mmjax.data.table import Table

Domain = Literal["movie", "amazon", "nyt", "tweets"]
DOMAINS: tuple[str, ...] = get_args(Domain)

ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
INSTALL = "pip download --no-deps --no-binary :all: vaderSentiment==3.3.2"

_FILES = {
    "movie": "movieReviewSnippets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
_INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"


@dataclasses.dataclass(frozen=True)
class Vader:
    """The snippets of Hutto & Gilbert 2014, each rated by about twenty people from -4 to 4.

    10,605 of film reviews, 3,708 of 300 Amazon reviews, 5,190 of 498 editorials of the New York
    Times and 4,200 tweets. Columns: `id`, `text`, `rating` (the mean), `label` ("positive" above
    `neutral`, "negative" below -`neutral`, else "neutral"), `domain`, `document`, `sentence` (its
    number in the document, from 1) and `split`. Of each domain, shares of the documents, drawn by
    `seed`, are for validation and test; no document is in two splits. The files name no documents
    of films and tweets: there each snippet is one.

    The wheel of the package lacks the snippets: `path` is its source distribution, or a folder of
    the files `..._GroundTruth.txt`. Raises MissingExtra if nothing is there, DataError for files
    that hold something else.
    """

    path: str = ARCHIVE
    domains: tuple[Domain, ...] = get_args(Domain)
    neutral: float = 0.5
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "domains": not self.domains or len(set(self.domains)) != len(self.domains),
            "neutral": not 0 <= self.neutral < 4,
            "validation_fraction": not 0 < self.validation_fraction < 1,
            "test_fraction": not 0 < self.test_fraction < 1 - self.validation_fraction,
            "seed": self.seed < 0,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="source vader",
                fix=f"domains among {', '.join(DOMAINS)}, each once; fractions that leave rows to "
                "train; neutral and seed of 0 or more",
            )

    def read(self) -> Table:
        """All snippets, domain by domain, in the order of the files."""
        names = ("id", "text", "rating", "label", "domain", "document", "sentence", "split")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        digest = hashlib.sha256(repr(dataclasses.replace(self, path="")).encode())
        for domain, content in self._contents().items():
            digest.update(content)
            snippets = _parse(content, f"{self.path}:{_FILES[domain]}")
            splits = self._splits(domain, list(dict.fromkeys(one[0] for one in snippets)))
            for document, sentence, rating, text in snippets:
                label = "positive" if rating > self.neutral else "negative"
                if abs(rating) <= self.neutral:
                    label = "neutral"
                cells = (
                    f"{domain}/{document}/{sentence}",
                    text,
                    rating,
                    label,
                    domain,
                    f"{domain}/{document}",
                    sentence,
                    splits[document],
                )
                for name, cell in zip(names, cells, strict=True):
                    columns[name].append(cell)
        return Table(columns, "vader", digest.hexdigest())

    def _splits(self, domain: str, documents: list[str]) -> dict[str, str]:
        """The split of each document, which does not depend on the other domains."""
        count = len(documents)
        test, held = (
            max(1, round(count * share)) for share in (self.test_fraction, self.validation_fraction)
        )
        if test + held >= count:
            raise DataError(
                222, f"{count} documents are too few for three splits", where=f"vader: {domain}"
            )
        order = np.random.default_rng((self.seed, DOMAINS.index(domain))).permutation(count)
        names = ["test"] * test + ["validation"] * held + ["train"] * (count - test - held)
        return {documents[i]: name for i, name in zip(order.tolist(), names, strict=True)}

    def _contents(self) -> dict[str, bytes]:
        """The bytes of the files by domain."""
        path = Path(self.path)
        if not path.exists():
            raise MissingExtra(
                114,
                f"vader reads '{self.path}', which is not there",
                fix=f"{INSTALL}, in this folder or with data.source.path=FOLDER/{ARCHIVE}",
            )
        wanted: dict[str, str] = {_FILES[domain]: domain for domain in self.domains}
        if path.is_dir():
            found: dict[str, bytes] = {
                domain: (path / name).read_bytes()
                for name, domain in wanted.items()
                if (path / name).is_file()
            }
        else:
            found = _unpacked(path, wanted)
        for name, domain in wanted.items():
            if domain not in found:
                raise _other(f"no {name}", self.path)
        return {domain: found[domain] for domain in self.domains}


def _unpacked(path: Path, wanted: dict[str, str]) -> dict[str, bytes]:
    """Files of the archive within the archive."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as outer:
            name = next((name for name in outer.getnames() if name.endswith(_INNER)), None)
            member = None if name is None else outer.extractfile(name)
            if member is None:
                raise _other(f"no {_INNER}", str(path))
            with tarfile.open(fileobj=io.BytesIO(member.read())) as inner:
                for one in inner.getmembers():
                    file = inner.extractfile(one) if one.isfile() else None
                    own = one.name.rpartition("/")[2]
                    if file is not None and own in wanted:
                        found[wanted[own]] = file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise _other(str(error), str(path)) from error
    return found


def _parse(content: bytes, where: str) -> list[tuple[str, int, float, str]]:
    """Document, sentence, rating and text of lines "document_sentence, rating, text" with tabs."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise _other(str(error), where) from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, rating, text = (*line.split("\t", 2), "", "")[:3]
        document, _, sentence = name.partition("_")
        value = parse_number(rating)
        if value is None or not text.strip() or not document or not (sentence or "1").isdecimal():
            raise _other(f"line {number} is no id, rating and text", where)
        found.append((document, int(sentence or 1), value, html.unescape(text.strip())))
    if not found:
        raise _other("no line", where)
    return found


def _other(what: str, where: str) -> DataError:
    return DataError(215, f"no such data as vader reads: {what}", where=where, fix=INSTALL)
