"""The index of a tar shard: what it holds, what it refuses, and when a kept one serves again."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np
import pytest
from tar_files import index_of, samples, table_of, write_tar

from mmjax.core.errors import DataError
from mmjax.data.sources import index_files
from mmjax.data.sources.shards import File
from mmjax.data.sources.tar_index import content as tar_content

ROWS = 40
pytestmark = pytest.mark.usefixtures("cache")


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
