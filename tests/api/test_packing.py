"""From any source to shards and back: the same cells, bit for bit."""

from __future__ import annotations

import json
import math
import tarfile

import jax
import numpy as np
import PIL.Image
import pytest

from mmjax.api.packing import pack
from mmjax.cli import main
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data import records
from mmjax.data.config import DataConfig, SplitConfig, sources
from mmjax.data.manifest import read
from mmjax.data.pipeline import prepare
from mmjax.train.config import Config

FORMATS = ("webdataset", "arrayrecord")

each_format = pytest.mark.parametrize("form", FORMATS)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def table_of(spec):
    return sources.build(spec).read()


def equal(ours, theirs):
    """Of the same type as well, all the way down."""
    if isinstance(theirs, np.ndarray):
        return ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(equal(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


def frame():
    rng = np.random.default_rng(0)
    return {
        "text": ["", "größe\r\nline", "x" * 70_000, None, "5"],
        "Name with spaces": ["a", None, "b;c", "json:x", "d.e"],
        "number": [1, -(2**60), 0.1, 1e300, None],
        "flag": [True, False, None, True, False],
        "nested": [[1, [2.5, None]], {"a": {"b": ["é"]}}, [], {}, "plain"],
        "array": [rng.normal(size=(i, 3)).astype(np.float32) for i in range(4)] + [None],
        "image": [rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) for _ in range(5)],
        "blob": [b"", b"\x00\xff" * 700, b"\x89PNG\r\n\x1a\n", b"RIFF____WAVEfmt", None],
    }


@each_format
def test_every_kind_of_cell_comes_back(tmp_path, form):
    data = frame()
    source = pack(data, tmp_path / "shards", format=form, shard_size="2", media=())
    table = table_of(source)
    assert len(list((tmp_path / "shards").glob("shard-*"))) == 3
    assert len(table) == 5
    for name, cells in data.items():
        for i, cell in enumerate(cells):
            assert equal(table.column(name)[i], cell), (name, i)
    assert table.bad == ()


def test_the_embedded_set_comes_back(tmp_path):
    """Arrays, lists of tags and a map of names, split by its column `split`."""
    original = read("emoji")
    columns = ("index", "name", "tags", "names", "twemoji", "split")
    # Every seventh concept, so that all splits are there.
    some = {name: list(original.column(name))[::7] for name in columns}
    source = pack(some, tmp_path / "shards", format="arrayrecord", media=())
    table = table_of(source)
    assert set(source.options["splits"]) == {"train", "validation", "test"}
    row_of = {index: i for i, index in enumerate(original.column("index"))}
    for split, rows in table.splits.items():
        for row in rows.tolist():
            theirs = original.row(row_of[table.column("index")[row]])
            assert theirs["split"] == split
            assert all(equal(table.column(name)[row], theirs[name]) for name in columns)
    assert sum(map(len, table.splits.values())) == len(some["index"]) > 200


@pytest.fixture
def manifest(tmp_path):
    """12 pictures in files and captions, one file missing (row 7)."""
    rows = []
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        kind = ("png", "jpg", "webp")[i % 3]
        if i != 7:
            PIL.Image.fromarray(pixels).save(tmp_path / f"{i}.{kind}")
        rows.append({"picture": f"{i}.{kind}", "words": f"words {i}", "id": f"r{i}"})
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@each_format
def test_files_are_written_as_they_are(tmp_path, manifest, form):
    with pytest.raises(DataError, match=r"MMX-306.*7\.jpg"):
        pack(str(manifest), tmp_path / "a", format=form, media=("picture",))
    assert not list((tmp_path / "a").iterdir())
    source = pack(str(manifest), tmp_path / "b", format=form, media=("picture",), skip_bad=True)
    table = table_of(source)
    kept = [i for i in range(12) if i != 7]
    assert list(table.column("id")) == [f"r{i}" for i in kept]
    for i, content in zip(kept, table.column("picture"), strict=True):
        assert content == next(tmp_path.glob(f"{i}.*")).read_bytes()
    (bad,) = [json.loads(line) for line in (tmp_path / "b" / "quarantine.jsonl").open()]
    assert (bad["row"], bad["code"]) == (7, 306)
    assert bad["where"] == f"{manifest}:8:picture"


def test_tar_shards_are_the_same_bytes_and_open_with_any_tool(tmp_path, manifest):
    for name in ("a", "b"):
        pack(str(manifest), tmp_path / name, media=("picture",), skip_bad=True)
    assert (tmp_path / "a/shard-00000.tar").read_bytes() == (
        tmp_path / "b/shard-00000.tar"
    ).read_bytes()
    with tarfile.open(tmp_path / "a/shard-00000.tar") as tar:
        names = tar.getnames()
        assert names[:2] == ["000000000.picture.png", "000000000.json"]
        inside = json.loads(tar.extractfile("000000001.json").read())
        assert inside == {"words": "words 1", "id": "r1"}
    # Without being told the columns, they are found by the members' names.
    found = read(str(tmp_path / "a" / "*.tar"))
    assert {"picture", "words", "id"} <= set(found.columns)
    assert found.column("words")[0] == "words 0"


@each_format
def test_a_config_trains_on_its_shards_as_on_its_source(tmp_path, manifest, form):
    data = DataConfig(
        source=Spec("jsonl", path=str(manifest)),
        modalities={
            "text": Spec("text", column="words", max_length=8),
            "image": Spec("image", columns=("picture",), size=8, augment={"noise": 0.1}),
        },
        split=SplitConfig(fractions=(0.75, 0.25, 0.0)),
        batch_size=4,
        threads=0,
        on_bad_sample="quarantine",
    )
    with pytest.raises(DataError):
        pack(Config(data=data), tmp_path / "refused", format=form)
    source = pack(Config(data=data), tmp_path / "shards", format=form, skip_bad=True)
    packed = prepare(DataConfig(source=source, modalities=data.modalities, batch_size=4, threads=0))
    plain = prepare(data)
    assert {name: len(rows) for name, rows in packed.splits.items()} == {
        name: len(rows) for name, rows in plain.splits.items()
    }
    with plain.loader("train", train=True) as ours, packed.loader("train", train=True) as theirs:
        for a, b in zip(range(6), zip(ours, theirs, strict=True), strict=False):
            one, other = b
            assert all(
                map(np.array_equal, jax.tree.leaves(one.inputs), jax.tree.leaves(other.inputs))
            ), a


def test_sizes_and_refusals(tmp_path, manifest):
    source = pack(
        str(manifest), tmp_path / "a", format="arrayrecord", columns=("words",), shard_size="1kb"
    )
    assert 1 <= len(source.options["paths"]) <= 2
    for wrong in ("", "0", "10TB", "-1"):
        with pytest.raises(ConfigError, match="shard_size"):
            pack(str(manifest), tmp_path / "b", shard_size=wrong)
    with pytest.raises(ConfigError, match="MMX-116"):
        pack(str(manifest), tmp_path / "a")
    with pytest.raises(ConfigError, match="webdataset"):
        pack(str(manifest), tmp_path / "b", format="webdatset")
    with pytest.raises(DataError, match="MMX-214"):
        pack(str(manifest), tmp_path / "b", columns=("word",))
    assert not (tmp_path / "b").exists()
    with pytest.raises(DataError, match=r"MMX-247.*arrayrecord"):
        pack({"a": [{"inner": b"x"}]}, tmp_path / "c")
    for form in FORMATS:
        with pytest.raises(DataError, match="MMX-247"):
            pack({"a": [1, 2], "b": [object(), 1]}, tmp_path / form, format=form, media=())


def test_the_command(tmp_path, manifest, capsys):
    out = tmp_path / "shards"
    arguments = ["pack", str(manifest), "--to", str(out), "--format", "arrayrecord"]
    assert main([*arguments, "--shard-size", "5", "--media", "picture", "--skip-bad"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("source=Spec('arrayrecord', paths=(")
    assert "1 rows left out" in told
    stored = json.loads((out / "source.json").read_text())
    name = stored.pop("name")
    assert len(table_of(Spec(name, **stored))) == 11
    assert main(arguments) == 2
    assert "no empty folder" in capsys.readouterr().err


class TestArrayRecord:
    @pytest.fixture
    def path(self, tmp_path):
        cells = {"number": list(range(300)), "text": [f"text {i} " * 20 for i in range(300)]}
        return pack(cells, tmp_path / "s", format="arrayrecord").options["paths"][0]

    def test_damage_is_noticed(self, path):
        with open(path, "rb") as file:
            content = bytearray(file.read())
        content[content.index(b"text 150 ") + 30] ^= 1
        with open(path, "wb") as file:
            file.write(content)
        table = table_of(Spec("arrayrecord", paths=(path,)))
        with pytest.raises(DataError, match=rf"MMX-246.*{path}:150"):
            table.column("number")[150]
        others = [i for i in range(300) if i != 150]
        assert [table.column("number")[i] for i in others] == others

    @pytest.mark.parametrize("length", [0, 1, 1000, 40_000])
    def test_a_shard_that_is_cut_off_has_no_row(self, path, tmp_path, length):
        with open(path, "rb") as file:
            content = file.read()
        cut = tmp_path / "cut.array_record"
        cut.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"MMX-240.*cut\.array_record"):
            table_of(Spec("arrayrecord", paths=(str(cut),)))
        both = table_of(Spec("arrayrecord", paths=(path, str(cut))))
        assert len(both) == 300
        assert both.bad[0].code == 240

    def test_held_out_rows_and_keys(self, path):
        table = table_of(Spec("arrayrecord", paths=(path,), held_out={"validation": 0.2}))
        rows = table.splits["validation"]
        assert abs(len(rows) - 60) < 4 * math.sqrt(48)
        assert sorted(np.concatenate([rows, table.splits["train"]])) == list(range(300))
        assert table.column("__key__")[5] == "000000005"
        assert table.where(5, "text") == f"{path}:5:text"
        row = {"__key__": "000000000", "number": 0, "text": "text 0 " * 20}
        limit = len(records.encode(row, "here"))
        table = table_of(Spec("arrayrecord", paths=(path,), max_bytes=limit))
        assert table.column("number")[0] == 0
        with pytest.raises(DataError, match=rf"MMX-309.*{path}:200"):
            table.column("number")[200]

    @pytest.mark.parametrize(
        "record",
        [
            b"",
            b"junk",
            b"\xc1",
            b"\x91" * 2000 + b"\xc0",  # lists in lists
            b"\x91" * 40 + b"\xc0",
            b"\xdf\xff\xff\xff\xff",  # a map of four billion
            b"\xdb\xff\xff\xff\xffx",  # a text of four billion
            b"\x93\x01\x02\x03",
            b"\x81\x01\x02",  # a key that is no text
            b"\x81\xa1a\xc7\x01\x05x",  # an unknown extension
            b"\x81\xa1a\xc7\x04\x01junk",  # no array
        ],
    )
    def test_records_that_are_no_rows(self, record):
        with pytest.raises(DataError, match=r"MMX-246.*here"):
            records.decode(record, "here")
