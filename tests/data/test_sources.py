import dataclasses
import datetime
import hashlib
import json
import pickle
import subprocess
import sys
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data import describe as description
from mmjax.data.config import DataConfig, Join, sources
from mmjax.data.manifest import load, read, source_for
from mmjax.data.sources.csv import Csv
from mmjax.data.sources.jsonl import JsonLines
from mmjax.data.sources.parquet import Parquet
from mmjax.data.table import check_ids


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refused(source, code):
    with pytest.raises(DataError) as caught:
        source.read()
    assert caught.value.code == code
    return str(caught.value)


class TestCsv:
    def test_agrees_with_pandas(self, tmp_path):
        path = write(
            tmp_path / "m.csv",
            'id,text,size\r\n1,"a, ""quoted""\ntext",0.5\r\n2,ünï,\r\n\r\n3,,7\r\n',
        )
        table = Csv(path).read()
        expected = pd.read_csv(path, dtype=str)
        assert list(table.columns) == list(expected.columns)
        for name in expected:
            known = [None if pd.isna(cell) else cell for cell in expected[name]]
            assert table.column(name) == known
        assert table.root == tmp_path
        assert table.fingerprint == hashlib.sha256((tmp_path / "m.csv").read_bytes()).hexdigest()

    def test_lines_are_where_rows_start(self, tmp_path):
        path = write(tmp_path / "m.csv", 'a,b\n1,"x\ny"\n\n2,z\n')
        table = Csv(path).read()
        assert table.lines == [2, 5]
        assert table.where(1, "b") == f"{path}:5:b"

    def test_byte_order_mark_and_other_encodings(self, tmp_path):
        for encoding in ("utf-8-sig", "utf-16", "cp1252", "gb18030"):
            path = write(tmp_path / "m.csv", "näme,b\nxé,1\n".encode(encoding))
            asked = "utf-8" if encoding == "utf-8-sig" else encoding
            table = Csv(path, encoding=asked).read()
            assert table.row(0) == {"näme": "xé", "b": "1"}

    @pytest.mark.parametrize(
        ("content", "offset", "guess"),
        [
            ("a,b\nxé,1\n".encode("cp1252"), 5, "cp1252"),
            ("a,b\nx,1\n".encode("utf-16"), 0, "utf-16"),
            (b"a,b\n\x81\xff,1\n", 4, "latin-1"),
            (b"a\n" + (b"x" * 999 + b"\n") * 1400 + b"\xe9\n", 1_400_002, "cp1252"),
            (b"a,b\nx,\xc3", 6, "cp1252"),
        ],
    )
    def test_wrong_encoding_names_the_offset_and_a_guess(self, tmp_path, content, offset, guess):
        message = refused(Csv(write(tmp_path / "m.csv", content)), 206)
        assert f"offset {offset} " in message
        assert f"look like {guess};" in message

    def test_utf16_without_a_mark_is_guessed(self, tmp_path):
        path = write(tmp_path / "m.csv", "a,b\nx,1\n".encode("utf-16-le"))
        assert "utf-16-le" in refused(Csv(path), 206)

    def test_unknown_encoding_and_delimiter(self, tmp_path):
        path = write(tmp_path / "m.csv", "a\n1\n")
        with pytest.raises(ConfigError, match="did you mean 'utf-8'"):
            Csv(path, encoding="utf-88").read()
        with pytest.raises(ConfigError, match="delimiter"):
            Csv(path, delimiter="||").read()

    @pytest.mark.parametrize(
        ("content", "code", "message"),
        [
            ("", 201, "manifest has 0 rows"),
            ("a,b\n", 201, "manifest has 0 rows"),
            ("a,b\n1,2\n1,2,3\n", 202, "3 fields, expected 2 | where: {path}:3"),
            ("a,b\n1,2\n\n1\n", 203, "1 fields, expected 2 | where: {path}:4"),
            ("a,b,a\n1,2,3\n", 204, "column 'a' twice"),
            ('a,b\n1,"x\n', 202, "bad CSV"),
            ('a,b\n1,"x"y\n', 202, "bad CSV"),
            ("a,b\n1," + "x" * 101 + "\n", 208, "longer than 100 characters | where: {path}:2"),
            ("a,b\n\0,1\n", 207, "NUL"),
        ],
    )
    def test_faults(self, tmp_path, content, code, message):
        path = write(tmp_path / "m.csv", content)
        assert message.format(path=path) in refused(Csv(path, max_field=100), code)

    def test_a_fault_does_not_lock_or_change_the_reader_of_the_next_file(self, tmp_path):
        ragged = write(tmp_path / "a.csv", "a,b\n1\n")
        with pytest.raises(DataError) as caught:
            Csv(ragged, max_field=10).read()
        long = write(tmp_path / "b.csv", "a\n" + "x" * 100 + "\n")
        assert len(Csv(long).read()) == 1
        assert caught.value.code == 203

    def test_a_row_with_a_nul_is_left_out_and_listed(self, tmp_path):
        table = Csv(write(tmp_path / "m.csv", "a,b\n1,x\n2,y\0\n3,z\n")).read()
        assert table.column("a") == ["1", "3"]
        assert table.lines == [2, 4]
        (bad,) = table.bad
        assert (bad.line, bad.column, bad.code) == (3, "b", 207)
        with pytest.raises(DataError, match=r"NUL in a field.*m\.csv:3:b"):
            table.require_good()

    def test_missing_files_name_the_nearest(self, tmp_path):
        write(tmp_path / "train.csv", "a\n1\n")
        assert "train.csv'?" in refused(Csv(str(tmp_path / "trian.csv")), 201)
        assert "is a folder" in refused(Csv(str(tmp_path)), 201)
        assert "no manifest" in refused(Csv(str(tmp_path / "no" / "such.csv")), 201)

    def test_text_is_normalised_and_unnamed_columns_are_numbered(self, tmp_path):
        decomposed = unicodedata.normalize("NFD", "é")
        path = write(tmp_path / "m.csv", f",{decomposed}\n0,caf{decomposed}\n")
        assert Csv(path).read().row(0) == {"column_1": "0", "é": "café"}

    def test_dangerous_cells_stay_text(self, tmp_path):
        path = write(tmp_path / "m.csv", "a\n=cmd()\n\x1b[31mred\n")
        assert Csv(path).read().column("a") == ["=cmd()", "\x1b[31mred"]

    def test_unknown_columns_are_named(self, tmp_path):
        table = Csv(write(tmp_path / "m.csv", "text,group\n1,2\n")).read()
        with pytest.raises(DataError, match="did you mean 'group'") as caught:
            table.column("gruop")
        assert caught.value.code == 214


class TestJsonLines:
    def test_rows(self, tmp_path):
        rows = [{"a": 1, "b": "x"}, {"a": None, "c": [1, "é"]}, {"b": "", "a": 2.5}]
        path = write(tmp_path / "m.jsonl", "﻿" + "\n\n".join(map(json.dumps, rows)))
        table = JsonLines(path).read()
        assert [table.row(i) for i in range(3)] == [
            {name: row.get(name) for name in ("a", "b", "c")} for row in rows
        ]
        assert table.lines == [1, 3, 5]
        assert table.bad == ()

    def test_bad_lines_are_left_out_and_listed(self, tmp_path):
        lines = [
            '{"a": 1}',
            '{"a": 1,}',
            "[1]",
            '{"a": NaN}',
            '{"b": {"c": [1e999]}}',
            "[" * 100_000,
            '{"a": ' + "9" * 5000 + "}",
            '{"a": 2}',
            '{"a": 3, "b": "cut o',
        ]
        path = write(tmp_path / "m.jsonl", "\n".join(lines))
        table = JsonLines(path).read()
        assert table.column("a") == [1, 2]
        assert [(bad.line, bad.column, bad.code) for bad in table.bad] == [
            (2, None, 209),
            (3, None, 209),
            (4, "a", 212),
            (5, "b", 212),
            (6, None, 209),
            (7, None, 209),
            (9, None, 210),
        ]
        assert "no newline at end" in table.bad[-1].message
        with pytest.raises(DataError, match=r"and 6 more bad rows.*m\.jsonl:2"):
            table.require_good()

    @pytest.mark.parametrize(
        ("content", "code", "message"),
        [
            ("", 201, "0 rows"),
            ("\n\n", 201, "0 rows"),
            ("{\n", 209, "malformed"),
            ('{"a": 1, "b": {"c": 1, "c": 2}}\n', 211, "'c' occurs twice"),
            ('{"a": 1}\n{"a": "\xe9"}\n'.encode("latin-1"), 206, "offset 16"),
        ],
    )
    def test_faults(self, tmp_path, content, code, message):
        assert message in refused(JsonLines(write(tmp_path / "m.jsonl", content)), code)

    def test_lone_surrogates_can_be_encoded(self, tmp_path):
        table = JsonLines(write(tmp_path / "m.jsonl", '{"a": "x\\ud800y"}')).read()
        assert table.column("a") == ["x�y"]


class TestParquet:
    def test_cells(self, tmp_path):
        when = datetime.datetime(2026, 1, 2, 3, 4)
        rows = pa.table(
            {
                "text": ["a", None, unicodedata.normalize("NFD", "é")],
                "size": [0.5, float("nan"), None],
                "count": pa.array([1, 2, None]),
                "when": [when, None, when],
                "image": [
                    {"bytes": b"png", "path": "a.png"},
                    {"bytes": None, "path": "b.png"},
                    None,
                ],
                "label": pa.array(["x", "y", "x"]).dictionary_encode(),
                "list": [[1], [], None],
            }
        )
        pq.write_table(rows, tmp_path / "m.parquet", row_group_size=2)
        table = Parquet(str(tmp_path / "m.parquet")).read()
        assert {name: list(cells) for name, cells in table.columns.items()} == {
            "text": ["a", None, "é"],
            "size": [0.5, None, None],
            "count": [1, 2, None],
            "when": [when.isoformat(), None, when.isoformat()],
            "image": [b"png", "b.png", None],
            "label": ["x", "y", "x"],
            "list": [[1], [], None],
        }
        assert table.column("count")[np.int64(1)] == 2
        assert table.column("count")[-2:] == [2, None]
        assert pickle.loads(pickle.dumps(table)).row(1) == table.row(1)

    def test_faults(self, tmp_path):
        path = write(tmp_path / "m.parquet", b"PAR1 no parquet at all PAR1")
        assert "damaged" in refused(Parquet(path), 215)
        latin = pa.Array.from_buffers(
            pa.string(), 1, [None, pa.py_buffer(np.int32([0, 1]).tobytes()), pa.py_buffer(b"\xe9")]
        )
        pq.write_table(pa.table({"a": latin}), path)
        assert "UTF8" in refused(Parquet(path), 215)
        pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
        assert "0 rows" in refused(Parquet(path), 201)
        pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
        assert "'a' twice" in refused(Parquet(path), 204)


class TestEmoji:
    def test_the_whole_set(self):
        table = sources.build("emoji").read()
        assert len(table) == 1906
        assert table.row(0)["name"] == "grinning face"
        assert table.row(0)["twemoji"].shape == (32, 32, 3)
        assert table.column("noto")[-1].dtype == np.uint8
        splits = pd.Series(table.column("split")).value_counts().to_dict()
        assert splits == {"train": 1283, "test": 389, "validation": 234}
        assert len(set(table.column("group"))) == 9
        check_ids(table, "index")


class TestManifest:
    def test_sources_by_what_they_are(self, tmp_path):
        assert source_for("emoji") == Spec("emoji")
        assert source_for("a/b.TSV", "r") == Spec("csv", delimiter="\t", path="a/b.TSV", root="r")
        assert source_for(tmp_path / "x.ndjson").name == "jsonl"
        assert source_for("x.parquet") == Spec("parquet", path="x.parquet")
        frame = pd.DataFrame({"a": [1]})
        assert source_for(frame, tmp_path) == Spec("frame", root=str(tmp_path))
        assert read(frame).column("a") == [1]
        with pytest.raises(DataError, match="did you mean 'emoji'"):
            source_for("emojis")
        with pytest.raises(DataError, match="of type int"):
            source_for(3)

    def test_the_spec_of_a_frame_can_be_written_as_json(self):
        config = DataConfig(source=source_for(pd.DataFrame({"a": [1]})))
        dumped = json.loads(json.dumps(config_lib.to_json(config)))
        assert dumped["source"] == {"name": "frame", "root": None}
        assert config_lib.to_json(config_lib.from_json(DataConfig, dumped)) == dumped

    def test_every_source_is_a_frozen_dataclass(self):
        for name in sources:
            assert dataclasses.fields(sources.load(name)) is not None
            assert sources.load(name).__dataclass_params__.frozen

    def test_load_joins_and_checks_ids(self, tmp_path):
        left = write(tmp_path / "l.csv", "id,text\n1,a\n2,b\n")
        right = write(tmp_path / "r.jsonl", '{"id": 2, "size": 5}\n')
        config = DataConfig(
            source=Spec("csv", path=left),
            joins=(Join(source=Spec("jsonl", path=right), on="id"),),
            id_column="id",
        )
        table, (report,) = load(config)
        assert list(table.column("size")) == [None, 5]
        assert (report.matched, report.unmatched_left, report.unmatched_right) == (1, 1, 0)

    @pytest.mark.parametrize("policy", ["raise", "quarantine"])
    def test_bad_rows_by_policy(self, tmp_path, policy):
        path = write(tmp_path / "m.jsonl", '{"a": 1}\nno\n{"a": 2}\n')
        config = DataConfig(source=Spec("jsonl", path=path), on_bad_sample=policy)
        if policy == "raise":
            with pytest.raises(DataError, match=r"m\.jsonl:2"):
                load(config)
        else:
            table, _ = load(config)
            assert (len(table), len(table.bad)) == (2, 1)

    @pytest.mark.parametrize("limits", [{"max_bad": 1}, {"max_bad_fraction": 0.005}])
    def test_too_many_bad_rows_stop_the_run(self, tmp_path, limits):
        path = write(tmp_path / "m.jsonl", '{"a": 1}\n' * 250 + "no\n" * 2)
        source = Spec("jsonl", path=path)
        assert len(load(DataConfig(source=source, on_bad_sample="quarantine"))[0]) == 250
        with pytest.raises(DataError, match="2 of 252 rows are bad"):
            load(DataConfig(source=source, on_bad_sample="quarantine", **limits))


def test_ids_are_unique():
    table = read({"id": ["a", "b", "a", "c", "b", None]})
    with pytest.raises(DataError, match="1 rows have no id"):
        check_ids(table, "id")
    table = read({"id": [*"abcdefg", *"abcdefg"]})
    with pytest.raises(
        DataError, match=r"7 ids .* 'a', 'b', 'c', 'd', 'e' .*frame:0:id and frame:7"
    ):
        check_ids(table, "id")


def test_damaged_files_give_tables_or_errors_with_codes(tmp_path):
    random = np.random.default_rng(0)
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", None]}), tmp_path / "whole.parquet")
    whole = {
        "csv": 'id,text\n1,"a, ""q"" é"\n2,"two\nlines"\n'.encode(),
        "jsonl": b'{"id": 1, "b": {"c": [1.5, "\\u00e9"]}}\n{"id": 2}\n',
        "parquet": (tmp_path / "whole.parquet").read_bytes(),
    }
    outcomes = set()
    for kind, content in whole.items():
        for _ in range(150):
            damaged = bytearray(content)
            for _ in range(random.integers(1, 4)):
                at = int(random.integers(len(damaged)))
                damaged[at : at + int(random.integers(2))] = random.bytes(int(random.integers(3)))
            path = tmp_path / f"m.{kind}"
            path.write_bytes(damaged)
            try:
                table = read(path)
            except DataError as error:
                outcomes.add((kind, "refused", error.code))
            else:
                description.lines(description.describe(table))
                outcomes.add((kind, "read", 200))
    assert {found[:2] for found in outcomes} >= {
        ("csv", "read"),
        ("csv", "refused"),
        ("jsonl", "read"),
        ("jsonl", "refused"),
        ("parquet", "refused"),
    }
    assert all(200 <= code < 220 for _, _, code in outcomes)


def test_reading_imports_no_pandas_tensorflow_or_torch(tmp_path):
    path = write(tmp_path / "m.csv", "a\n1\n")
    script = (
        "import sys; from mmjax.data.manifest import read;"
        f"read({path!r}); read('emoji'); read({{'a': [1]}});"
        "print(sorted({'pandas', 'tensorflow', 'torch', 'pyarrow', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
