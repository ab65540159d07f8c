"""Tar shards as a table, against the standard library's reading of them; and what is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import tarfile

import jax
import numpy as np
import pytest
from tar_files import caption, picture, samples, write_tar

from mmjax.core.errors import ConfigError, DataError, TransientError
from mmjax.core.registry import Spec
from mmjax.data import lazy
from mmjax.data.config import DataConfig, SplitConfig, sources
from mmjax.data.manifest import read, source_for
from mmjax.data.pipeline import prepare
from mmjax.data.sources import index_files, shards
from mmjax.data.sources.contents import decode
from mmjax.data.sources.shards import File, expand
from mmjax.data.sources.tar_index import content as tar_content
from mmjax.data.sources.tar_index import index_tar

ROWS = 40


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mmjax" / "indexes"


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        write_tar(tmp_path / "shards" / f"train-{i:03d}.tar", samples(10 * i, 10))
    return tmp_path / "shards"


def table_of(*paths, **options):
    return sources.build(Spec("webdataset", paths=tuple(map(str, paths)), **options)).read()


def index_of(path, **options):
    return index_tar(File(path), **{"max_members": 10_000, **options})


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


class TestIndex:
    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_members_are_those_of_the_standard_library(self, tmp_path, form):
        names = ["a.txt", "a.png", f"{'d' * 90}/{'n' * 60}.txt"]
        if form != tarfile.USTAR_FORMAT:
            names += [f"{'long/' * 60}name.txt", "größe/ü.txt"]
        contents = {name: name.encode() * (i * 40) for i, name in enumerate(names)}
        path = write_tar(tmp_path / "a.tar", contents, format=form)
        index = index_of(path)
        with tarfile.open(path) as tar:
            for sample in range(len(index)):
                for extension in index.extensions:
                    member = index.member(sample, extension)
                    if member is not None:
                        theirs = tar.getmember(member.name)
                        assert (member.offset, member.size) == (theirs.offset_data, theirs.size)
                        assert member.check == theirs.chksum
            assert len(index.offset) == len(names) == len(tar.getmembers())

    def test_what_is_no_file_of_a_sample_is_ignored(self, tmp_path):
        path, outside = tmp_path / "a.tar", tmp_path / "outside.txt"
        kinds = ["SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE", "DIRTYPE"]
        with tarfile.open(path, "w") as tar:
            for i, kind in enumerate(kinds):
                entry = tarfile.TarInfo(f"evil{i}.txt")
                entry.type, entry.linkname = getattr(tarfile, kind), str(outside)
                tar.addfile(entry)
            for name in (str(outside), "../outside.txt", "a/../../b.txt", ".hidden.txt", "none"):
                entry = tarfile.TarInfo(name)
                entry.size = 4
                tar.addfile(entry, io.BytesIO(b"evil"))
            entry = tarfile.TarInfo("good.txt")
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"good"))
        table = table_of(path)
        assert len(table) == 1
        assert table.row(0)["text"] == "good"
        assert index_of(path).ignored == len(kinds) + 5
        assert not outside.exists()
        assert {one.name for one in tmp_path.iterdir()} == {"a.tar", "cache"}

    def test_a_cut_archive_gives_what_is_whole_and_names_the_offset(self, tmp_path):
        path = write_tar(tmp_path / "a.tar", samples(0, 6))
        content = path.read_bytes()
        with tarfile.open(path) as tar:
            ends = [one.offset_data + one.size for one in tar.getmembers()]
        cut = tmp_path / "cut.tar"
        for length in [*range(1, ends[-1], 700), *ends]:
            cut.write_bytes(content[:length])
            index = index_of(cut)
            # The last sample before the cut may lack members, so it is not trusted.
            begun = -(-sum(end <= length for end in ends) // 3)
            assert list(index.keys) == [f"{i:06d}" for i in range(begun - 1)]
            assert len(index.offset) == 3 * len(index)
            (bad,) = index.bad
            assert (bad.code, bad.name) == (240, str(cut))
            assert length - 1200 <= bad.line <= length

    def test_a_damaged_header_ends_the_shard(self, tmp_path):
        path = write_tar(tmp_path / "a.tar", samples(0, 6))
        start = index_of(path).member(3, "png").offset - 512
        content = bytearray(path.read_bytes())
        content[start + 5] ^= 1
        path.write_bytes(content)
        index = index_of(path)
        assert len(index) == 2
        assert (index.bad[0].line, index.bad[0].code) == (start, 240)
        table = table_of(path)
        with pytest.raises(DataError, match=rf"MMX-240.*header.*a\.tar:{start}"):
            table.require_good()

    @pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
    def test_compressed_shards_are_refused(self, tmp_path, kind):
        path = tmp_path / "a.tar"
        with tarfile.open(path, f"w:{kind}") as tar:
            entry = tarfile.TarInfo("a.txt")
            tar.addfile(entry)
        with pytest.raises(DataError, match=r"MMX-240.*compressed.*uncompress it"):
            table_of(path)

    def test_limits(self, tmp_path):
        path = write_tar(tmp_path / "a.tar", samples(0, 6))
        with pytest.raises(DataError, match="MMX-241"):
            index_of(path, max_members=17)
        table = table_of(path, max_bytes=100)
        assert table.column("__key__")[0] == "000000"
        with pytest.raises(DataError, match=r"MMX-309.*000000\.png.*limit of 100"):
            table.column("image")[0]

    @pytest.mark.parametrize(
        "size",
        [b"77777777777\0", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000000001\0", b"9" * 12],
    )
    def test_sizes_that_lie(self, tmp_path, size):
        path = write_tar(tmp_path / "a.tar", samples(0, 2))
        content = bytearray(path.read_bytes())
        content[124:136] = size
        header = content[:148] + b" " * 8 + content[156:512]
        content[148:156] = b"%06o\0 " % sum(header)
        path.write_bytes(content)
        index = index_of(path)
        assert len(index) == 0
        assert index.bad[0].line == 0

    def test_extended_headers_that_lie(self, tmp_path):
        for record in (b"9999999 path=x\n", b"30 size=-5\n", b"x", b"16 size=100000\n" + b"\n"):
            path = tmp_path / "a.tar"
            with tarfile.open(path, "w") as tar:
                entry = tarfile.TarInfo("pax")
                entry.type, entry.size = tarfile.XHDTYPE, len(record)
                tar.addfile(entry, io.BytesIO(record))
                entry = tarfile.TarInfo("a.txt")
                entry.size = 1
                tar.addfile(entry, io.BytesIO(b"x"))
            assert index_of(path).bad[0].code == 240
        huge = tarfile.TarInfo("pax")
        huge.type, huge.size = tarfile.XHDTYPE, 2**21
        path.write_bytes(huge.tobuf() + bytes(2**21))
        assert "over 1048576" in index_of(path).bad[0].message

    def test_no_damage_crashes(self, tmp_path):
        """Flipped bits, fields of headers that lie under a right checksum, and holes."""
        rng = np.random.default_rng(0)
        long = {f"{'d' * 120}/{'n' * 80}.txt": b"x"}
        path = write_tar(tmp_path / "a.tar", samples(0, 5) | long, format=tarfile.PAX_FORMAT)
        whole, broken = path.read_bytes(), 0
        fields = [(0, 100), (124, 136), (156, 157), (257, 265), (345, 500)]
        for trial in range(240):
            content = bytearray(whole)
            if trial % 3 == 0:
                content[rng.integers(len(content))] ^= 1 << rng.integers(8)
            elif trial % 3 == 1:
                start = int(rng.integers(len(content) // 512)) * 512
                first, last = fields[rng.integers(len(fields))]
                lies = rng.choice(list(b"\0 01237xgLKS5/.\xff\x80-"), last - first)
                content[start + first : start + last] = bytes(lies.astype(np.uint8))
                header = content[start : start + 512]
                header[148:156] = b" " * 8
                content[start + 148 : start + 156] = b"%06o\0 " % sum(header)
            else:
                start = int(rng.integers(len(content)))
                del content[start : start + int(rng.integers(5000))]
            path.write_bytes(content)
            index = index_of(path)
            broken += bool(index.bad)
            for sample in range(len(index)):
                for extension in index.extensions:
                    member = index.member(sample, extension)
                    if member is not None:
                        found = content[member.offset : member.offset + member.size]
                        assert tar_content(File(path), member) == found
        assert broken > 80

    def test_a_key_that_comes_again_and_a_member_that_is_there_twice(self, tmp_path):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for name in ("a.txt", "b.txt", "b.txt", "a.png"):
                tar.addfile(tarfile.TarInfo(name))
        index = index_of(tmp_path / "a.tar")
        assert list(index.keys) == ["a", "b"]
        assert [bad.code for bad in index.bad] == [245, 245]
        assert len(index.offset) == 2


class TestKeptIndex:
    @pytest.fixture
    def passes(self, monkeypatch):
        """The shards whose headers were read."""
        seen, real = [], index_files.index_tar
        monkeypatch.setattr(
            index_files, "index_tar", lambda file, **o: seen.append(file.path) or real(file, **o)
        )
        return seen

    def test_headers_are_read_once(self, folder, passes, cache):
        table = table_of(folder / "*.tar")
        again = table_of(folder / "*.tar")
        assert len(passes) == 4
        assert len(list(cache.iterdir())) == 4
        assert again.fingerprint == table.fingerprint
        assert [again.row(i) for i in range(ROWS)] == [table.row(i) for i in range(ROWS)]
        write_tar(folder / "train-002.tar", samples(500, 3))
        assert len(table_of(folder / "*.tar")) == 33
        assert len(passes) == 5

    def test_a_damaged_index_is_made_anew(self, folder, passes, cache, caplog):
        before = table_of(folder / "*.tar")
        for i, kept in enumerate(sorted(cache.iterdir())):
            content = kept.read_bytes()
            kept.write_bytes((b"", content[: len(content) // 2], b"junk" * 100, content[:-8])[i])
        assert table_of(folder / "*.tar").fingerprint == before.fingerprint
        assert len(passes) == 8
        assert "made anew" in caplog.text

    def test_an_index_of_another_file_is_noticed(self, tmp_path):
        path = write_tar(tmp_path / "a.tar", samples(0, 6))
        status = path.stat()
        table_of(path)
        other = samples(0, 6)
        names = list(other)
        # Of the same size and time, with its members in another order.
        write_tar(path, {name: other[name] for name in [*names[3:], *names[:3]]})
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        if path.stat().st_size == status.st_size:
            with pytest.raises(DataError, match=r"MMX-244.*a\.tar:000000"):
                table_of(path).row(0)

    def test_where_nothing_may_be_written_it_is_read_each_time(self, folder, passes, tmp_path):
        (tmp_path / "file").write_text("")
        for _ in range(2):
            assert len(table_of(folder / "*.tar", cache=str(tmp_path / "file" / "x"))) == ROWS
        assert len(passes) == 8

    @pytest.mark.parametrize("version", ["v1.1", "v1.2"])
    def test_an_index_of_dali_spares_the_pass(self, folder, passes, version):
        whole = table_of(folder / "train-001.tar")
        passes.clear()
        with tarfile.open(folder / "train-001.tar") as tar:
            lines = [f"{version} 10"]
            members = tar.getmembers()
            for start in range(0, 30, 3):
                words = []
                for one in members[start : start + 3]:
                    extension = one.name.rpartition(".")[2]
                    words += [extension, str(one.offset_data), str(one.size)]
                    words += [one.name] if version == "v1.2" else []
                lines.append(" ".join(words))
        (folder / "train-001.idx").write_text("\n".join(lines) + "\n")
        table = table_of(folder / "train-001.tar")
        assert not passes
        ours, theirs = ([{**t.row(i), "__key__": 0} for i in range(10)] for t in (table, whole))
        assert ours == theirs

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "begins with no"),
            ("v9 1\npng 512 3\n", "begins with no"),
            ("v1.1 1\npng 99999999 3\n", "outside the shard"),
            ("v1.1 1\npng 512 99999999\n", "outside the shard"),
            ("v1.1 1\npng 0 3\n", "outside the shard"),
            ("v1.1 2\npng 512 3\n", "promises 2"),
            ("v1.1 1\npng x 3\n", "promises 1"),
        ],
    )
    def test_an_index_that_lies_is_refused(self, folder, text, message):
        (folder / "train-000.idx").write_text(text)
        with pytest.raises(DataError, match=rf"MMX-244.*{message}"):
            table_of(folder / "train-000.tar")

    def test_an_index_that_lies_about_a_member_is_noticed(self, folder):
        (folder / "train-000.idx").write_text("v1.2 1\npng 1024 30 000000.png\n")
        table = table_of(folder / "train-000.tar")
        with pytest.raises(DataError, match="MMX-244"):
            table.column("image")[0]


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


MODALITIES = {
    "text": Spec("text", column="text", word_dropout=0.3, max_length=16),
    "image": Spec("image", columns=("image",), size=8, augment={"affine": {"pixels": 2}}),
}


def config(source, **changes):
    base = DataConfig(source=source, modalities=MODALITIES, batch_size=8, threads=0)
    return dataclasses.replace(base, **changes)


def batches(data, count=12, **options):
    with data.loader("train", train=True, **{"seed": 7, **options}) as loader:
        return [next(loader) for _ in range(count)]


def same(ours, theirs):
    return all(map(np.array_equal, jax.tree.leaves(ours), jax.tree.leaves(theirs)))


class TestBatches:
    @pytest.fixture
    def data(self, folder):
        return prepare(config(Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})))

    def test_shards_are_as_good_as_files(self, data, tmp_path):
        """The batches of the same pictures and captions in files of their own."""
        lines = []
        for i in range(ROWS):
            (tmp_path / f"{i}.png").write_bytes(picture(i))
            lines.append(json.dumps({"image": f"{i}.png", "text": caption(i), "split": "train"}))
        (tmp_path / "m.jsonl").write_text("\n".join(lines) + "\n")
        split = SplitConfig(column="split", names={"train": ("train",)})
        files = prepare(config(Spec("jsonl", path=str(tmp_path / "m.jsonl")), split=split))
        assert all(map(same, batches(data), batches(files)))

    @pytest.mark.parametrize("start", [1, 7])
    def test_going_on_at_a_step_is_as_never_having_stopped(self, data, folder, start):
        whole = batches(data)
        with data.loader("train", train=True, seed=7) as loader:
            for _ in range(start):
                next(loader)
            state = loader.state()
        again = prepare(config(Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})))
        assert state == {"next_step": start, "fingerprint": again.fingerprint}
        assert all(map(same, batches(again, 12 - start, start=start), whole[start:]))

    def test_hosts_and_threads_change_nothing(self, data, folder):
        whole = batches(data, 6)
        parts = [batches(data, 6, process_index=i, process_count=2) for i in range(2)]
        for one, *shares in zip(whole, *parts, strict=True):
            assert same(one, jax.tree.map(lambda *leaves: np.concatenate(leaves), *shares))
        source = Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})
        assert all(map(same, batches(prepare(config(source, threads=4)), 6), whole))

    @pytest.mark.slow
    def test_a_worker_process_changes_nothing(self, data, folder):
        source = Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})
        assert all(map(same, batches(prepare(config(source, workers=1)), 3), batches(data, 3)))

    def test_splits_by_shard(self, folder):
        splits = {"train": (str(folder / "train-{000..002}.tar"),)}
        splits["validation"] = (str(folder / "train-003.tar"),)
        data = prepare(config(Spec("webdataset", splits=splits)))
        assert data.rows("validation").tolist() == list(range(30, 40))
        assert data.rows("train").tolist() == list(range(30))
        data.save(folder / "run")
        again = prepare(config(Spec("webdataset", splits=splits)), processors_folder=folder / "run")
        assert again.fingerprint == data.fingerprint
        with pytest.raises(DataError, match="in two splits"):
            table_of(splits={"train": splits["train"], "test": splits["train"]})

    def test_splits_by_key_stay_when_shards_are_added(self, tmp_path):
        for i in range(4):
            members = {f"{j:05d}.txt": b"x" for j in range(500 * i, 500 * (i + 1))}
            write_tar(tmp_path / f"{i}.tar", members)
        held = {"validation": 0.1, "test": 0.05}
        few = table_of(tmp_path / "{0..1}.tar", held_out=held)
        all_ = table_of(tmp_path / "{0..3}.tar", held_out=held)
        for name, rows in few.splits.items():
            mine = all_.splits[name]
            assert rows.tolist() == mine[mine < 1000].tolist()
        rows = np.concatenate(list(all_.splits.values()))
        assert sorted(rows) == list(range(2000))
        assert abs(len(all_.splits["validation"]) - 200) < 4 * np.sqrt(180)
        assert abs(len(all_.splits["test"]) - 100) < 4 * np.sqrt(95)
        for wrong in ({"validation": 1.0}, {"train": 0.5}, {"test": -0.1}):
            with pytest.raises(ConfigError, match="held_out"):
                table_of(tmp_path / "0.tar", held_out=wrong)

    def test_preparing_reads_no_picture_and_few_texts(self, folder, monkeypatch):
        read = []
        real = File.read
        monkeypatch.setattr(lazy, "FEW", 5)
        monkeypatch.setattr(
            File, "read", lambda self, *a: read.append(a[1] - 512) or real(self, *a)
        )
        source = Spec(
            "webdataset", paths=(str(folder / "*.tar"),), columns={"image": "png", "text": "txt"}
        )
        data = prepare(config(source))
        texts = [size for size in read if 0 < size < 60]
        assert len(texts) == 5
        assert not [size for size in read if size >= 60]
        assert sum(map(len, data.splits.values())) == ROWS
        padded = {**MODALITIES, "text": MODALITIES["text"].replace(lengths=(8,))}
        with pytest.raises(ConfigError, match=r"MMX-115.*text\.lengths"):
            prepare(config(source, modalities=padded)).loader("train", train=True)


class TestDamage:
    @pytest.fixture
    def source(self, tmp_path):
        """40 samples: row 3 has no picture, 5 is damaged, 8 has a text that is none, 9 nothing."""
        members = samples(0, ROWS)
        del members["000003.png"]
        members["000005.png"] = members["000005.png"][:60]
        members["000008.txt"] = b"\xff\xfe"
        del members["000009.png"], members["000009.txt"]
        write_tar(tmp_path / "a.tar", members)
        return Spec("webdataset", splits={"train": (str(tmp_path / "a.tar"),)})

    def test_places_of_bad_rows_stay_empty(self, source):
        data = prepare(config(source, on_bad_sample="quarantine"))
        assert len(data.rows("train")) == ROWS
        found = batches(data, 10)
        left_out = {bad.row: bad.code for bad in data.quarantine.found}
        assert left_out == {5: 403, 8: 243, 9: 218}
        for epoch in (found[:5], found[5:]):
            rows = np.concatenate([batch.row for batch in epoch])
            assert sorted(rows[rows >= 0]) == sorted(set(range(ROWS)) - {5, 8, 9})
        for batch in found:
            assert np.array_equal(batch.row_mask, batch.row >= 0)
            assert np.array_equal(batch.present["image"], batch.row_mask & (batch.row != 3))
            empty = ~batch.row_mask
            assert not batch.inputs["image"]["pixel_values"][empty].any()
            assert not batch.inputs["text"]["attention_mask"][empty].any()
        again = prepare(config(source, on_bad_sample="quarantine"))
        assert all(map(same, batches(again, 3, start=4), found[4:7]))
        assert data.summary()["quarantined"] == 3

    def test_or_they_stop_the_run(self, source):
        with pytest.raises(DataError, match=r"MMX-243.*a\.tar:000008\.txt"):
            batches(prepare(config(source)))
        text = {"text": MODALITIES["text"].replace(tokenizer="subwords", column="json")}
        with pytest.raises(DataError, match="MMX-503"):
            prepare(config(source, modalities=text))

    def test_rows_can_be_checked_ahead(self, source):
        ahead = source.replace(check_ahead=True)
        data = prepare(config(ahead, on_bad_sample="quarantine"))
        assert {bad.row for bad in data.quarantine.found} == {5, 8, 9}
        assert len(data.rows("train")) == ROWS - 3
        assert all(batch.row_mask.all() for batch in batches(data))

    def test_a_damaged_shard_is_one_bad_row(self, tmp_path, folder):
        path = folder / "train-003.tar"
        path.write_bytes(path.read_bytes()[:10_000])
        source = Spec("webdataset", splits={"train": (str(folder / "*.tar"),)})
        with pytest.raises(DataError, match=r"MMX-240.*cut off|MMX-240.*past the end"):
            prepare(config(source))
        data = prepare(config(source, on_bad_sample="quarantine"))
        (bad,) = data.quarantine.found
        assert bad.code == 240
        assert str(path) in bad.where
        assert len(data.rows("train")) == 30 + len(index_of(path)) > 31

    def test_limits(self, tmp_path):
        members = samples(0, 300)
        members |= {f"{i:06d}.png": b"junk" for i in range(0, 300, 10)}
        write_tar(tmp_path / "a.tar", members)
        source = Spec("webdataset", splits={"train": (str(tmp_path / "a.tar"),)})
        image = {"image": Spec("image", columns=("image",), size=8)}
        data = prepare(config(source, modalities=image, on_bad_sample="quarantine"))
        with pytest.raises(DataError, match=r"MMX-219.*rows are bad.*max_bad"):
            batches(data, 40)
        allowed = config(source, modalities=image, on_bad_sample="quarantine", max_bad_fraction=0.2)
        assert len(batches(prepare(allowed), 40)) == 40
