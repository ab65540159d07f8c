"""`mmjax validate` and `mmjax.validate`: every problem, with its row, column and code."""

import json

import numpy as np
import PIL.Image
import pytest
import tiny_run

import mmjax
from mmjax.cli import main
from mmjax.core.errors import ConfigError

HEADER = "id,words,picture,weight,split,kind\n"


@pytest.fixture
def folder(tmp_path):
    """Eight sound rows: pictures p0 ... p7, two classes, six of them training rows."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(8):
        pixels = rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"p{i}.png")
        split = "train" if i < 6 else "test"
        kind = "ab"[i % 2]
        lines.append(f"r{i},the words of row {i},p{i}.png,{0.5 + i},{split},{kind}\n")
    (tmp_path / "data.csv").write_text(HEADER + "".join(lines))
    return tmp_path


def found_in(folder, lines, **options):
    """`{(line, column): code}` of the errors, after the sound rows."""
    path = folder / "data.csv"
    path.write_text(path.read_text() + "".join(line + "\n" for line in lines), newline="")
    told = mmjax.validate(path, label="kind", **options)
    places = [one.where.removeprefix(f"{path}:").split(":") for one in told.errors]
    return {
        (int(place[0]), place[1] if len(place) > 1 else None): one.code
        for place, one in zip(places, told.errors, strict=True)
    }


def test_sound_data_has_no_problem(folder, capsys):
    path = folder / "data.csv"
    assert mmjax.validate(path, label="kind").problems == ()
    assert main(["validate", str(path), "--label", "kind"]) == 0
    out = capsys.readouterr().out
    assert "image: in 8 of 8 rows" in out
    assert "splits: train" in out
    assert "8 rows, 0 problems, 0 warnings" in out


def test_every_damaged_row_is_told_at_its_place(folder):
    (folder / "cut.png").write_bytes((folder / "p0.png").read_bytes()[:60])
    (folder / "page.png").write_bytes(b"<html>no picture</html>")
    found = found_in(
        folder,
        [
            "r8,too many fields,p0.png,1,train,a,more",
            "r9,too few fields,p0.png,1",
            "r10,damaged twice,cut.png,no number,train,a",
            "r11,no such file,nowhere.png,1,train,b",
            "r12,outside,../p0.png,1,train,b",
            "r13,a page,page.png,1,train,b",
            "r14,an unknown split,,1,tran,b",
            "r15,no label,,1,train,",
            "r0,an id twice,,1,train,b",
            "r17,nul \0 in it,,1,train,b",
        ],
        columns={"weight": "number"},
    )
    assert {place: code for place, code in found.items() if place != (12, "picture")} == {
        (10, None): 202,
        (11, None): 203,
        (13, "picture"): 306,
        (14, "picture"): 301,
        (15, "picture"): 404,
        (12, "weight"): 521,
        (16, "split"): 221,
        (17, "kind"): 530,
        (18, "id"): 213,
        (19, "words"): 207,
    }
    assert found[(12, "picture")] // 100 == 4


def test_repeated_rows_and_what_they_leak(folder):
    path = folder / "data.csv"
    path.write_text(
        path.read_text()
        + "r8,the words of row 1,p1.png,1.5,test,b\n"  # a training row as a test row
        + "r9,the words of row 2,p2.png,2.5,train,b\n"  # the same inputs, another label
        + "r10,other words,p3.png,2.5,test,B\n"  # a training picture; a class by another case
    )
    told = mmjax.validate(path, label="kind", columns={"weight": "number"})
    leak = next(one for one in told.errors if one.code == 226)
    assert (leak.row, leak.where) == (8, f"{path}:10")
    assert f"{path}:3" in leak.message
    codes = {one.code for one in told.warnings}
    assert {226, 220, 533, 534} <= codes
    contradiction = next(one for one in told.warnings if one.code == 534)
    assert (contradiction.row, contradiction.column) == (9, "kind")
    assert "'a'" in contradiction.message
    unknown = next(one for one in told.errors if one.code == 531)
    assert unknown.where == f"{path}:12:kind"


def test_a_config_says_what_the_columns_are(tmp_path, capsys):
    data = tiny_run.write_data(tmp_path, 12)
    config = tiny_run.write_config(tmp_path / "config.py", tiny_run.config(data))
    assert main(["validate", "--config", str(config)]) == 0
    rows = tiny_run.read_rows(data)
    rows[3]["picture"] = "gone.png"
    tiny_run.write_rows(tmp_path / "other.csv", rows, ("id", "words", "picture"))
    capsys.readouterr()
    arguments = ["validate", str(tmp_path / "other.csv"), "--config", str(config), "--json"]
    assert main(arguments) == 2
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert told["present"] == {"text": 12, "image": 12}
    codes = [(one["code"], one["row"], one["column"]) for one in told["problems"]]
    assert ("MMX-214", None, None) in codes
    assert ("MMX-306", 3, "picture") in codes


def test_json_lines_are_read_to_their_end(tmp_path):
    path = tmp_path / "data.jsonl"
    lines = ['{"a": "one two three", "b": "x"}', "{broken", '{"a": 1, "a": 2}', '{"a": NaN}', "[]"]
    path.write_bytes("\n".join(lines).encode() + b'\n{"a": "\xff"}\n{"a": "cut')
    told = mmjax.validate(path)
    assert [(one.where.split(":")[1], one.code) for one in told.errors] == [
        ("2", 209),
        ("3", 211),
        ("4", 212),
        ("5", 209),
        ("6", 206),
        ("7", 210),
    ]
    assert told.rows == 7


def test_a_row_twice_is_a_warning(tmp_path, capsys):
    path = tmp_path / "data.csv"
    path.write_text("words,n\n" + "".join(f"the words of {i % 3},{i % 3}.5\n" for i in range(4)))
    told = mmjax.validate(path)
    assert [(one.code, one.row) for one in told.problems] == [(225, 3)]
    assert main(["validate", str(path)]) == 0
    assert main(["validate", str(path), "--strict"]) == 2


@pytest.mark.parametrize(
    ("text", "code"), [("", 201), ("a,b\n", 201), ("a,a\n1,2\n", 204), ('a\n"x\n', 202)]
)
def test_what_cannot_be_read_at_all_is_one_problem(tmp_path, text, code, capsys):
    path = tmp_path / "data.csv"
    path.write_text(text)
    assert [one.code for one in mmjax.validate(path).errors] == [code]
    assert main(["validate", str(path)]) == 2
    assert "1 problems" in capsys.readouterr().out


def test_contradicting_options_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="MMX-105"):
        mmjax.validate()
    with pytest.raises(ConfigError, match="MMX-105"):
        mmjax.validate(tmp_path / "x.csv", config=tmp_path / "c.py", label="kind")
