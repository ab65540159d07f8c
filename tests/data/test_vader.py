"""Rated snippets from an archive such as the package's source distribution."""

from __future__ import annotations

import io
import tarfile

import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.data.config import sources

DOCUMENTS = [(d, s) for d in range(1, 11) for s in range(1, 1 + d % 3 + 1)]
FILES = {
    "movieReviewSnippets": "".join(f"{i}\t{i / 10 - 0.8}\tFilm {i}\r\n" for i in range(1, 21)),
    "amazonReviewSnippets": "".join(f"{d}_{s}\t-0.5\tshop {d} {s}\r\n" for d, s in DOCUMENTS),
    "nytEditorialSnippets": "".join(f"{d}_{s}\t0.75\tpaper {d}\r\n" for d, s in DOCUMENTS),
    "tweets": "".join(f"{i}\t-2\tso sad &amp; so\ttired {i}\r\n" for i in range(1, 11)),
}


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def archive_of(folder, files):
    inner, path = io.BytesIO(), folder / "vaderSentiment-3.3.2.tar.gz"
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for name, content in files.items():
            add(archive, f"hutto_ICWSM_2014/{name}_GroundTruth.txt", content.encode())
    with tarfile.open(path, "w:gz") as archive:
        place = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
        add(archive, place, inner.getvalue())
    return path


def test_snippets_are_split_by_document(tmp_path):
    path = archive_of(tmp_path, FILES)
    table = sources.build("vader", path=str(path)).read()
    assert len(table) == 20 + 2 * len(DOCUMENTS) + 10
    assert table.row(0) == {
        "id": "movie/1/1",
        "text": "Film 1",
        "rating": pytest.approx(-0.7),
        "label": "negative",
        "domain": "movie",
        "document": "movie/1",
        "sentence": 1,
        "split": table.row(0)["split"],
    }
    assert [table.row(i)["label"] for i in (2, 12, 13)] == ["neutral", "neutral", "positive"]
    assert table.row(21)["document"] == "amazon/1"
    assert table.row(21)["label"] == "neutral"
    assert table.row(len(table) - 1)["text"] == "so sad & so\ttired 10"
    splits = {}
    for document, split in zip(table.column("document"), table.column("split"), strict=True):
        assert splits.setdefault(document, split) == split
    for domain, count in (("movie", 20), ("amazon", 10), ("nyt", 10), ("tweets", 10)):
        own = [split for name, split in splits.items() if name.startswith(domain)]
        assert (len(own), own.count("test"), own.count("validation")) == (
            count,
            count // 5,
            count // 10,
        )
    assert len(set(table.column("id"))) == len(table)


def test_domains_and_folders(tmp_path):
    table = sources.build("vader", path=str(archive_of(tmp_path, FILES))).read()
    for name, content in FILES.items():
        (tmp_path / f"{name}_GroundTruth.txt").write_bytes(content.encode())
    folder = sources.build("vader", path=str(tmp_path))
    assert folder.read().fingerprint == table.fingerprint
    one = sources.build("vader", path=str(tmp_path), domains=("nyt",)).read()
    rows = [i for i, domain in enumerate(table.column("domain")) if domain == "nyt"]
    assert [one.row(i) for i in range(len(one))] == [table.row(i) for i in rows]
    other = sources.build("vader", path=str(tmp_path), seed=1).read()
    assert other.fingerprint != table.fingerprint
    assert list(other.column("split")) != list(table.column("split"))


def test_what_is_refused(tmp_path):
    with pytest.raises(MissingExtra, match=r"pip download .*vaderSentiment==3.3.2"):
        sources.build("vader", path=str(tmp_path / "none.tar.gz")).read()
    with pytest.raises(ConfigError, match="MMX-106"):
        sources.build("vader", test_fraction=0.9, validation_fraction=0.1)
    source = sources.build("vader", path=str(archive_of(tmp_path, {"tweets": "1\t2\tfine\n"})))
    with pytest.raises(DataError, match="no movieReview"):
        source.read()
    archive_of(tmp_path, {**FILES, "tweets": "1\t2\tfine\nno rating\tso\n"})
    with pytest.raises(DataError, match="line 2"):
        source.read()
    path = tmp_path / "broken.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="MMX-215"):
        sources.build("vader", path=str(path)).read()
