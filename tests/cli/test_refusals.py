"""What a user gets wrong: one line that names it, exit code 2, and nothing half-written."""

import json
import shutil
import subprocess
import sys

import pytest
import tiny_run

from mmjax.api.run import Run
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.cli import main


@pytest.fixture
def data(tmp_path):
    return tiny_run.write_data(tmp_path)


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail; the one line that it wrote to standard error."""

    def run(*arguments, code=2):
        capsys.readouterr()
        assert main([str(one) for one in arguments]) == code
        out, err = capsys.readouterr()
        errors = [line for line in err.splitlines() if not line.startswith("WARNING")]
        assert len(errors) == 1, err
        assert errors[0].startswith("mmjax error MMX-")
        assert "Traceback" not in err + out
        return errors[0]

    return run


@pytest.fixture
def train(tmp_path, refused):
    """Trains a config that must be refused; nothing may be left of its run."""

    def run(config, *more, kept=()):
        path = tiny_run.write_config(tmp_path / "config.py", config)
        folder = tmp_path / "new" / "run"
        line = refused("train", path, "--workdir", folder, *more)
        assert not folder.exists()
        assert not folder.parent.exists()
        return line

    return run


def changed(data, change, columns=tiny_run.COLUMNS):
    rows = tiny_run.read_rows(data)
    change(rows)
    return tiny_run.write_rows(data, rows, columns)


def test_a_missing_manifest(train, data):
    config = tiny_run.plain(data, "text", f"data.source.path={data.with_name('dta.csv')}")
    line = train(config)
    assert "no manifest" in line
    assert "dta.csv" in line
    assert "data.csv" in line.partition("fix:")[2]


def test_a_missing_column(train, data):
    line = train(tiny_run.plain(data, "text", "data.modalities.text.column=wrds"))
    assert "no column 'wrds'" in line
    assert "did you mean 'words'" in line


def test_a_missing_label_column(train, data):
    line = train(tiny_run.plain(data, "text", "data.targets.label.column=knd"))
    assert "no column 'knd'" in line
    assert "did you mean 'kind'" in line


def test_a_picture_that_is_not_there(train, data):
    def change(rows):
        rows[5]["picture"] = "data_pictures/r55.png"

    line = train(tiny_run.plain(changed(data, change), "image"))
    assert "data.csv:7:picture" in line
    assert "r55.png" in line


def test_a_damaged_picture_under_raise(refused, data, tmp_path):
    (data.parent / "data_pictures" / "r5.png").write_bytes(b"no picture at all")
    config = tiny_run.plain(data, "image", "train.log_every=8 steps")
    path = tiny_run.write_config(tmp_path / "config.py", config)
    line = refused("train", path, "--workdir", tmp_path / "run")
    assert "data.csv:7:picture" in line
    assert "r5.png" in line
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "run" / "status.json").exists()


def test_a_damaged_picture_under_quarantine(data, tmp_path, capsys):
    (data.parent / "data_pictures" / "r5.png").write_bytes(b"no picture at all")
    config = tiny_run.plain(data, "image", "data.on_bad_sample=quarantine")
    path = tiny_run.write_config(tmp_path / "config.py", config)
    assert main(["train", str(path), "--workdir", str(tmp_path / "run")]) == 0
    listed = tmp_path / "run" / "processors" / "quarantine.jsonl"
    assert str(listed) in capsys.readouterr().err
    (bad,) = [json.loads(line) for line in listed.read_text().splitlines()]
    assert (bad["row"], bad["id"], bad["column"]) == (5, "r5", "picture")
    assert bad["where"].endswith("data.csv:7")
    assert "r5.png" in bad["message"]
    summary = json.loads((tmp_path / "run" / "data_summary.json").read_text())
    assert (summary["rows"], summary["used"], summary["quarantined"]) == (40, 39, 1)
    assert 5 not in [row for split in _splits(tmp_path / "run").values() for row in split]

    # The same policy holds for what the run predicts, and rows = used + left out.
    other = tiny_run.write_data(tmp_path, 9, name="other")
    (tmp_path / "other_pictures" / "r2.png").write_bytes(b"")
    out = tmp_path / "predictions.jsonl"
    arguments = ["predict", tmp_path / "run", "--data", other, "--out", out]
    assert main([str(one) for one in arguments]) == 0
    told = capsys.readouterr().out
    left = tmp_path / "predictions.quarantine.jsonl"
    assert "8 predictions" in told
    assert f"1 rows left out  {left}" in told
    ids = [json.loads(line)["id"] for line in out.read_text().splitlines()]
    assert ids == ["r0", "r1", *(f"r{i}" for i in range(3, 9))]
    assert [json.loads(line)["id"] for line in left.read_text().splitlines()] == ["r2"]


def _splits(run):
    return json.loads((run / "processors" / "splits.json").read_text())["splits"]


def test_an_unknown_label_at_evaluation(refused, trained, tmp_path):
    data = tiny_run.write_data(tmp_path, 9)
    changed(data, lambda rows: rows[4].update(kind="brd"))
    line = refused("evaluate", trained, "--data", data, "--out", tmp_path / "out")
    assert "unknown label 'brd'" in line
    assert "data.csv:6:kind" in line
    assert "did you mean 'bird'" in line
    assert not (tmp_path / "out").exists()


def test_an_empty_split(train, data):
    def change(rows):
        for row in rows:
            row["part"] = "train"

    columns = (*tiny_run.COLUMNS, "part")
    line = train(tiny_run.plain(changed(data, change, columns), "text", "data.split.column=part"))
    assert "the split 'validation' is empty" in line
    assert "part" in line


def test_a_cell_that_is_no_split(train, data):
    def change(rows):
        for i, row in enumerate(rows):
            row["part"] = ("train", "valid", "test")[i % 3]
        rows[9]["part"] = "tset"

    columns = (*tiny_run.COLUMNS, "part")
    line = train(tiny_run.plain(changed(data, change, columns), "text", "data.split.column=part"))
    assert "'tset' is no split" in line
    assert "data.csv:11:part" in line
    assert "did you mean 'test'" in line


def test_a_duplicate_header(train, data):
    first, _, rest = data.read_text().partition("\n")
    data.write_text(first.replace("place", "words") + "\n" + rest)
    line = train(tiny_run.plain(data, "text"))
    assert "'words'" in line
    assert "twice" in line


def test_a_row_with_too_many_cells(train, data):
    text = data.read_text().splitlines()
    text[8] += ",more"
    data.write_text("\n".join(text) + "\n")
    line = train(tiny_run.plain(data, "text"))
    assert "data.csv:9" in line


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["data.batch_size=9"], ["data.batch_size=9", "the nearest valid: 8 or 16"]),
        (["mesh.fsdp=3"], ["mesh.fsdp=3", "there are 8"]),
        (["train.gradient_accumulation_steps=3"], ["data.batch_size=8", "3 micro-batches"]),
    ],
)
def test_a_batch_that_the_mesh_does_not_divide(train, data, monkeypatch, changes, parts):
    import jax

    eight = jax.local_devices()
    monkeypatch.setattr(jax, "devices", lambda *_: eight)
    line = train(tiny_run.plain(data, "text"), *changes)
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("model.fusion.widht=8", ["model.fusion.widht", "did you mean 'width'"]),
        ("optimiser.learning_rate=1", ["optimiser", "did you mean 'optimizer'"]),
        ("model.encoders.text=bag_of_word", ["bag_of_word", "did you mean 'bag_of_subwords'"]),
        ("train.max_skipped=three", ["train.max_skipped", "'three'", "expected int"]),
        ("train.duration=ten", ["train.duration", "'ten'", "500 steps"]),
        ("optimizer.name=adam", ["optimizer.name", "did you mean 'adamw'"]),
        ("seed", ["'seed'", "key=value"]),
    ],
)
def test_a_typo_in_a_setting(train, data, change, parts):
    line = train(tiny_run.plain(data, "text"), change)
    assert all(part in line for part in parts), line


def test_a_config_file_that_is_not_there_or_fails(refused, data, tmp_path):
    tiny_run.write_config(tmp_path / "config.py", tiny_run.plain(data, "text"))
    line = refused("train", tmp_path / "confg.py", "--workdir", tmp_path / "run")
    assert "confg.py" in line
    assert "config.py" in line.partition("fix:")[2]
    broken = tmp_path / "broken.py"
    for text, number in (("x = 1\nx = y\n", 2), ("def get_config(:\n", 1)):
        broken.write_text(text)
        assert f"broken.py:{number}" in refused("train", broken, "--workdir", tmp_path / "run")
    broken.write_text("from mmjax import Config\n\n\ndef get_config():\n    return Config(sed=1)\n")
    line = refused("train", broken, "--workdir", tmp_path / "run")
    assert "broken.py:5" in line
    assert "'sed'" in line
    assert not (tmp_path / "run").exists()


def test_a_resume_with_other_settings_or_data(refused, trained, tmp_path):
    for name in ("data.csv", "config.py"):
        shutil.copy(trained.parent / name, tmp_path / name)
    config = trained.parent / "config.py"
    before = {p.name: p.stat().st_mtime_ns for p in trained.iterdir()}
    line = refused("train", config, "seed=4", "--workdir", trained, "--resume")
    assert "seed: 0 -> 4" in line
    assert str(trained) in line
    line = refused("train", config, "--workdir", trained)
    assert "holds a run already" in line
    assert "--resume" in line
    data = trained.parent / "data.csv"
    text = data.read_bytes()
    try:
        changed(data, lambda rows: rows[3].update(words="something else"))
        line = refused("train", config, "--workdir", trained, "--resume")
        assert "the data has changed" in line
        line = refused("evaluate", trained)
        assert "the data has changed" in line
        assert str(data) in line
    finally:
        data.write_bytes(text)
    assert {p.name: p.stat().st_mtime_ns for p in trained.iterdir()} == before


def test_a_second_run_in_the_same_folder(refused, data, tmp_path):
    path = tiny_run.write_config(tmp_path / "config.py", tiny_run.plain(data, "text"))
    folder = tmp_path / "run"
    with RunFolder(folder).lock():
        line = refused("train", path, "--workdir", folder)
        assert "another run holds this folder" in line
        assert [p.name for p in folder.iterdir()] == ["run.lock"]


@pytest.mark.parametrize("command", ["evaluate", "describe", "predict", "embed"])
def test_a_run_that_is_not_there(refused, trained, tmp_path, command):
    more = {
        "predict": ["--data", "x.csv", "--out", tmp_path / "out.jsonl"],
        "embed": ["--out", tmp_path / "out.npz"],
    }
    line = refused(command, trained.with_name("rum"), *more.get(command, []))
    assert "is not a run" in line
    assert "did you mean 'run'" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["predict", "RUN", "--data", "x.csv"], ["--data without --out"]),
        (["predict", "RUN", "--split", "test"], ["--split without --out"]),
        (["predict", "RUN"], ["ROWS, --data, a --split"]),
        (["predict", "RUN", "rows.csv"], ["ROWS without OUT"]),
        (["predict", "RUN", "rows.csv", "OUT", "--shard", "8/8"], ["shard 8/8", "0/8 to 7/8"]),
        (["predict", "RUN", "rows.csv", "OUT", "--workers", "0"], ["--workers 0", "1 or more"]),
        (["predict", "RUN", "--text", "a", "--data", "x.csv"], ["or one example"]),
        (["predict", "RUN", "--set", "words"], ["--set words", "NAME=VALUE"]),
        (["predict", "RUN", "--audio", "a.wav"], ["reads no 'audio'"]),
        (["predict", "RUN", "--image", "no.png"], ["'no.png' cannot be read"]),
        (["predict", "RUN", "--data", "no.csv", "--out", "OUT"], ["no manifest 'no.csv'"]),
        (["predict", "RUN", "--data", "no.txt", "--out", "OUT"], ["'no.txt' is no manifest"]),
        (["evaluate", "RUN", "--split", "tst"], ["no split 'tst'", "did you mean 'test'"]),
        (["evaluate", "RUN", "--step", "3"], ["no whole checkpoint of step 3"]),
        (["evaluate", "RUN", "--step", "bset"], ["no step 'bset'"]),
        (["trian"], ["no command 'trian'", "did you mean 'train'"]),
        (["train", "c.py"], ["--workdir"]),
        (["train", "c.py", "--workdir", "OUT", "--sedes", "3"], ["--sedes"]),
        (["train", "c.py", "--workdir", "OUT", "--seeds", "x"], ["--seeds", "'x'"]),
        (["list", "encodrs"], ["'encodrs'"]),
        (["fit", "x.csv", "--label", "a", "--workdir", "OUT", "--kind", "b"], ["COLUMN=KIND"]),
        (["fit", "x.csv", "--label", "a", "--workdir", "OUT"], ["no manifest 'x.csv'"]),
    ],
)
def test_arguments(refused, trained, tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    named = {"RUN": str(trained), "OUT": "out"}
    line = refused(*(named.get(one, one) for one in arguments))
    assert all(part in line for part in parts), line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seeds", [0, -2])
def test_no_seeds(train, data, seeds):
    assert "expected 1 or more" in train(tiny_run.plain(data, "text"), "--seeds", seeds)


def test_seeds_in_the_folder_of_a_run(refused, trained):
    line = refused("train", trained.parent / "config.py", "--workdir", trained, "--seeds", 2)
    assert "holds a single run" in line


def test_predictions_stay_as_they_were_if_the_new_ones_fail(refused, trained, tmp_path):
    data = tiny_run.write_data(tmp_path, 20)
    (tmp_path / "data_pictures" / "r18.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "out.jsonl"
    out.write_text("as it was\n")
    line = refused("predict", trained, "--data", data, "--out", out)
    assert "data.csv:20:picture" in line
    assert "r18.png" in line
    assert out.read_text() == "as it was\n"
    assert {p.name for p in tmp_path.iterdir()} == {"data.csv", "data_pictures", "out.jsonl"}


def test_a_place_that_cannot_be_written(refused, trained, tmp_path):
    data = tiny_run.write_data(tmp_path, 3)
    (tmp_path / "file").write_text("")
    line = refused("predict", trained, "--data", data, "--out", tmp_path / "file" / "out.jsonl")
    assert "file" in line
    line = refused("predict", trained, "--data", data, "--out", tmp_path)
    assert str(tmp_path) in line
    line = refused("train", trained.parent / "config.py", "--workdir", tmp_path / "file")
    assert "is a file" in line


def test_a_damaged_checkpoint_is_passed_over_or_named(refused, trained, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    steps = sorted(int(path.name) for path in (copy / "checkpoints").iterdir())
    for step in steps:
        for path in (copy / "checkpoints" / str(step)).rglob("*"):
            if path.is_file() and path.stat().st_size > 100 and "json" not in path.name:
                path.write_bytes(path.read_bytes()[:-20])
    capsys.readouterr()
    assert main(["predict", str(copy), "--text", "wing"]) == 2
    err = capsys.readouterr().err
    assert "every checkpoint is damaged" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_what_is_not_expected_is_one_line_too(capsys, monkeypatch, trained):
    def fail(*_):
        raise RuntimeError("something\nelse")

    monkeypatch.setattr(Run, "predict_one", lambda *_, **__: fail())
    assert main(["predict", str(trained), "--text", "a"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "mmjax error MMX-900: RuntimeError: something else | fix: --verbose shows where"
    ]
    assert main(["predict", str(trained), "--text", "a", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_help_is_quick_and_imports_no_jax():
    code = (
        "import sys, time; began = time.process_time()\n"
        "from mmjax.cli import main\n"
        "for arguments in (['--help'], ['train', '--help'], ['--version']):\n"
        "    try: main(arguments)\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "assert main(['trian']) == 2\n"
        "heavy = {'jax', 'numpy', 'flax', 'rich', 'orbax', 'grain'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert time.process_time() - began < 1.5\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
