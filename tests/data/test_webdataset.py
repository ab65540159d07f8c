"""Tar shards as a table, against the standard library's reading of them; and what is refused."""

from __future__ import annotations

import io
import json
import os
import pickle

import numpy as np
import pytest
from tar_files import caption, picture, samples, table_of, write_tar

from mmjax.core.errors import ConfigError, DataError, TransientError
from mmjax.core.registry import Spec
from mmjax.data.manifest import read, source_for
from mmjax.data.sources import shards
from mmjax.data.sources.contents import decode
from mmjax.data.sources.shards import expand

ROWS = 40
pytestmark = pytest.mark.usefixtures("cache")


class TestTable:
    def test_rows_are_samples(self, folder):
        table = table_of(folder / "train-{000..003}.tar")
        assert len(table) == ROWS
        assert set(table.columns) == {"__key__", "image", "text", "json", "number", "of"}
        for i in (0, 9, 10, 39):
            assert table.row(i) == {
                "__key__": f"{i:06d}",
                "image": picture(i),
                "text": caption(i),
                "json": {"number": i, "of": {"parity": i % 2}},
                "number": i,
                "of": {"parity": i % 2},
            }
        assert table.column("number")[-3:] == [37, 38, 39]
        assert table.lazy
        assert table.where(25, "image") == f"{folder / 'train-002.tar'}:000025:image"
        again = pickle.loads(pickle.dumps(table))
        assert again.row(39) == table.row(39)

    def test_columns_as_asked(self, tmp_path):
        path = write_tar(
            tmp_path / "a.tar",
            {
                "x/a.seg.png": b"seg",
                "x/a.JPG": b"first",
                "x/a.png": b"second",
                "x/b.png": b"alone",
                "x/b.json": b'{"caption": null, "alt": {"en": "text"}}',
                "x/b.cls": b"7\n",
            },
        )
        table = table_of(
            path,
            columns={
                "image": "jpg;png",
                "map": "seg.png",
                "words": "txt;json:caption;json:alt.en",
                "label": "cls",
            },
        )
        assert table.row(0) == {
            "__key__": "x/a",
            "image": b"first",
            "map": b"seg",
            "words": None,
            "label": None,
        }
        assert table.row(1) == {
            "__key__": "x/b",
            "image": b"alone",
            "map": None,
            "words": "text",
            "label": 7,
        }
        with pytest.raises(DataError, match=r"MMX-214.*'jpg'"):
            table_of(path, columns={"image": "jpeg"})
        with pytest.raises(ConfigError, match="MMX-106"):
            table_of(path, columns={"image": "pyd"})

    def test_a_path_is_enough(self, folder):
        path = str(folder / "train-{000..003}.tar")
        assert source_for(path) == Spec("webdataset", paths=(path,))
        assert len(read(path)) == ROWS

    def test_the_fingerprint_is_of_names_and_headers(self, folder):
        pattern = folder / "train-*.tar"
        first = table_of(pattern)
        os.utime(folder / "train-001.tar")
        assert table_of(pattern).fingerprint == first.fingerprint
        assert table_of(pattern, columns={"image": "png"}).fingerprint != first.fingerprint
        members = samples(10, 10)
        members["000013.txt"] += b"!"
        write_tar(folder / "train-001.tar", members)
        assert table_of(pattern).fingerprint != first.fingerprint


class TestPaths:
    def test_patterns(self, folder, tmp_path):
        names = [f"train-{i:03d}.tar" for i in range(4)]
        for pattern in ("train-{000..003}.tar", "train-{000,001,002,003}.tar", "*.tar"):
            assert [path.name for path in expand([str(folder / pattern)])] == names
        assert [p.name for p in expand([str(folder / "train-00{3,1}.tar")])] == [names[3], names[1]]
        odd = write_tar(tmp_path / "a[1].tar", {})
        assert expand([str(odd)]) == [odd]

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("train-{000..004}.tar", r"MMX-201.*train-004"),
            ("test-*.tar", "MMX-242.*no shard matches"),
            ("train-{3..0}.tar", "counts no shards"),
            ("train-{0..99999999999}.tar", "counts no shards"),
            ("{0..9999}{0..9999}.tar", "names over"),
        ],
    )
    def test_shards_that_are_not_there(self, folder, pattern, message):
        with pytest.raises(DataError, match=message):
            expand([str(folder / pattern)])

    def test_schemes_and_doubles(self, folder):
        for url in ("pipe:cat x.tar", "https://x/y.tar", "s3://b/k.tar"):
            with pytest.raises(DataError, match="MMX-305"):
                expand([url])
        with pytest.raises(DataError, match="named twice"):
            expand([str(folder / "train-000.tar"), str(folder / "*.tar")])
        with pytest.raises(ConfigError, match="MMX-103"):
            table_of()

    def test_reading_is_tried_again_and_then_told(self, folder, monkeypatch):
        monkeypatch.setattr(shards, "_PAUSES_SECONDS", (0.0, 0.0))
        table, real, failures = table_of(folder / "train-000.tar"), os.pread, [2]

        def fails(*arguments):
            failures[0] -= 1
            if failures[0] >= 0:
                raise OSError(5, "Input/output error")
            return real(*arguments)

        monkeypatch.setattr(os, "pread", fails)
        assert table.row(3)["number"] == 3
        failures[0] = 99
        with pytest.raises(TransientError, match="MMX-307"):
            table.row(4)

    def test_few_shards_are_open_at_a_time(self, folder, monkeypatch):
        monkeypatch.setattr(shards.resource, "getrlimit", lambda _: (8, 8))
        for i in range(4, 24):
            write_tar(folder / f"train-{i:03d}.tar", {f"{i}.txt": caption(i).encode()})
        table = table_of(folder / "train-{004..023}.tar")
        start = len(os.listdir("/proc/self/fd"))
        assert list(table.column("text")) == [caption(i) for i in range(4, 24)]
        assert len(os.listdir("/proc/self/fd")) <= start + 1


class TestContents:
    @pytest.mark.parametrize(
        ("content", "extension"),
        [
            (b"\xff", "txt"),
            (b"{", "json"),
            (b"[" * 50_000, "json"),
            (b"[" * 33 + b"]" * 33, "json"),
            (b"NaN", "json"),
            (b"[1e999]", "json"),
            (b'{"a": 1, "a": 2}', "json"),
            (b"1.5", "cls"),
            (b"cat", "cls"),
            (b"\x93NUMPY\x09\x00", "npy"),
            (b"junk", "npy"),
            (b"\x80\x04N.", "pkl"),
            (b"\x80\x04N.", "target.pyd"),
            (b"PK", "pth"),
        ],
    )
    def test_refused(self, content, extension):
        with pytest.raises(DataError, match=r"MMX-243.*where: here"):
            decode(content, extension, "here")

    def test_arrays(self):
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        file = io.BytesIO()
        np.save(file, array)
        found = decode(file.getvalue(), "features.npy", "here")
        assert found.dtype == np.float32
        assert np.array_equal(found, array)
        for damaged in (file.getvalue()[:-1], file.getvalue() + b"x"):
            with pytest.raises(DataError, match="promises other data"):
                decode(damaged, "npy", "here")
        bomb = (
            file.getvalue().replace(b"(2, 3)", b"(9999999999,)"[:6]).replace(b"(99999", b"(9999,")
        )
        with pytest.raises(DataError, match="MMX-243"):
            decode(bomb, "npy", "here")
        objects = io.BytesIO()
        np.save(objects, np.array([{"a": 1}], object), allow_pickle=True)
        with pytest.raises(DataError, match="MMX-243"):
            decode(objects.getvalue(), "npy", "here")

    def test_others_are_bytes(self):
        assert decode(b"\x00\x01", "xyz", "here") == b"\x00\x01"
        assert decode(json.dumps([1, "é"]).encode(), "json", "here") == [1, "é"]
