"""`mmjax reproduce`: the table of results, the bands, and what refuses to be measured again."""

import dataclasses
import json
import math
import shutil

import pytest
import tiny_run

from benchmarks import catalog
from mmjax.api import reproducing
from mmjax.api.reproducing import Figure, Result, reproduce, results
from mmjax.api.run import Run
from mmjax.checkpoint.run_folder import json_hash
from mmjax.cli import main
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json


def test_the_table_holds_what_was_committed():
    """`python -m benchmarks.catalog` writes it anew."""
    known = results()
    assert list(known) == [entry.id for entry in catalog.ENTRIES]
    for entry in catalog.ENTRIES:
        if not entry.config:
            expected = json.loads(json.dumps(catalog.entry_as_json(entry)))
            stored = json.loads(json.dumps(dataclasses.asdict(known[entry.id])))
            assert {name: stored[name] for name in expected} == expected, entry.id
    for one in known.values():
        assert one.kind != "config" or json_hash(one.config) == one.config_hash
        assert all(figure.band(1)[0] < figure.mean < figure.band(1)[1] for figure in one.figures)


@pytest.mark.slow
def test_every_committed_result_is_in_the_table():
    assert catalog.uncatalogued() == []


def test_configs_of_the_table_are_those_of_the_repository():
    entry = next(one for one in catalog.ENTRIES if one.id == "quickstart_text")
    built = catalog.entry_as_json(entry)
    stored = results()["quickstart_text"]
    assert built["config_hash"] == stored.config_hash
    assert built["data_hash"] == stored.data_hash != ""


def test_bands():
    figure = Figure("x", (0.7, 0.8, 0.9), ("x",))
    low, high = figure.band(1)
    assert high - 0.8 == pytest.approx(0.8 - low) == pytest.approx(3 * 0.1 * math.sqrt(1 / 3 + 1))
    assert figure.band(3)[1] == pytest.approx(0.8 + 3 * 0.1 * math.sqrt(2 / 3))
    assert Figure("x", (0.5,), ("x",), least=0.02).band(1) == pytest.approx((0.48, 0.52))
    assert Figure("x", (2.0, 4.0), ("x",), factor=1.5).band(1) == pytest.approx((2.0, 4.5))


def test_a_figure_is_read_where_it_stands():
    result = {"runs": [{"model": "a", "test": {"f1": 1}}, {"model": "b", "test": {"f1": 2}}]}
    assert Figure("x", (), ("test", "f1"), "runs", {"model": "b"}).read(result) == [2.0]
    assert Figure("x", (), ("test", "f1"), "runs").read(result) == [1.0, 2.0]
    assert Figure("x", (), ("a", "b")).read({"a": {"b": 3}}) == [3.0]


@pytest.fixture
def tiny(tmp_path, tmp_path_factory, monkeypatch):
    """A result whose run stands finished in the folder that is returned with it."""
    with tiny_run.one_device():
        run = tiny_run.trained(tmp_path_factory)
        shutil.copytree(run, tmp_path / "tiny-seed-0")
        config = read_json(run / "config.json")
        accuracy = Run(run).metrics["test"]["accuracy"]
        one = Result(
            id="tiny",
            what="a tiny run",
            kind="config",
            result="tiny",
            date="2026-01-01",
            device="cpu",
            figures=(Figure("accuracy", (accuracy,), ("test", "accuracy"), least=0.01),),
            seeds=(0,),
            config=config,
            config_hash=json_hash(config),
            data_hash=read_json(run / "processors" / "data.json")["table"],
        )
        table = {"tiny": one}
        monkeypatch.setattr(reproducing, "results", lambda: table)
        yield table, tmp_path


def test_a_result_is_measured_again(tiny, capsys):
    table, folder = tiny
    (outcome,) = reproduce("tiny", workdir=folder)
    assert outcome.passed
    assert outcome.values == outcome.figure.values
    low = Figure("accuracy", (0.2,), ("test", "accuracy"), least=0.01)
    table["tiny"] = dataclasses.replace(table["tiny"], figures=(low,))
    assert main(["reproduce", "tiny", "--workdir", str(folder), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["passed"]
    assert told["figures"][0]["band"] == pytest.approx([0.19, 0.21])
    table["tiny"] = dataclasses.replace(table["tiny"], data_hash="x")
    with pytest.raises(DataError, match="MMX-223"):
        reproduce("tiny", workdir=folder)
    table["tiny"] = dataclasses.replace(table["tiny"], config_hash="x")
    with pytest.raises(ConfigError, match="MMX-110"):
        reproduce("tiny", workdir=folder)


def test_programs_need_the_repository_and_people(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="needs the repository: its program is benchmarks"):
        reproduce("movielens")
    with pytest.raises(ConfigError, match="measured by hand: an H100"):
        reproduce("layers_gpu")
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        reproduce("quikstart")
    with pytest.raises(ConfigError, match="has no seeds"):
        reproduce("fusion", seeds=[1])


def test_a_program_writes_its_result_where_it_is_told(tmp_path, monkeypatch):
    for name in ("benchmarks", "configs"):
        (tmp_path / name).mkdir()
    (tmp_path / "benchmarks" / "catalog.py").write_text("")
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    (tmp_path / "benchmarks" / "made.py").write_text(
        "import json, sys, pathlib\n"
        "out, seeds = sys.argv[1], sys.argv[3:]\n"
        "value = {'runs': [{'seed': int(s), 'x': 1.0 + int(s)} for s in seeds]}\n"
        "pathlib.Path(out, 'made.json').write_text(json.dumps(value))\n"
    )
    figure = Figure("x", (1.0, 2.0), ("x",), "runs")
    one = Result("made", "", "program", "made", "-", "-", (figure,), seeds=(0, 1))
    one = dataclasses.replace(one, command=("python", "benchmarks.made", "{out}"))
    monkeypatch.setattr(reproducing, "results", lambda: {"made": one})
    monkeypatch.chdir(tmp_path / "configs")
    (outcome,) = reproduce("made", seeds=[0, 1], workdir=tmp_path / "work")
    assert outcome.values == (1.0, 2.0)
    assert outcome.passed


def test_the_results_are_listed(capsys):
    assert main(["reproduce", "--list"]) == 0
    shown = capsys.readouterr().out
    assert main(["list", "results"]) == 0
    assert capsys.readouterr().out == shown
    assert "quickstart_minilm" in shown
    assert "the repository" in shown
    assert main(["reproduce"]) == 2
