"""Scores as inputs are made worse: both ends against plain evaluations, and the command's files."""

from __future__ import annotations

import pytest
import tiny_run

from mmjax.api.degrading import conditions, degraded
from mmjax.api.run import load_run
from mmjax.cli import main
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json


@pytest.fixture(scope="module")
def run(trained):
    with tiny_run.one_device():
        yield load_run(trained)


def test_no_severity_is_the_plain_evaluation_and_full_severity_is_nothing_left(run, trained):
    rows = tiny_run.read_rows(trained.parent / "data.csv")
    told = []
    found = degraded(
        run,
        split="all",
        wanted=("text/dropped_words", "image/missing"),
        levels=(0.5, 1.0),
        told=lambda *one: told.append(one),
    )
    assert told == [(done, len(rows)) for done in range(1, 6)]
    assert found.levels == (0.0, 0.5, 1.0)
    plain = run.evaluate(split="all")
    for curves in found.curves.values():
        assert {metric: scores[0] for metric, scores in curves.items()} == {
            metric: plain[metric] for metric in ("accuracy", "macro_f1")
        }
    for name, column in (("text/dropped_words", "words"), ("image/missing", "picture")):
        # The same rows without a cell in that column.
        bare = {key: [row[key] for row in rows] for key in tiny_run.COLUMNS}
        bare[column] = [None] * len(rows)
        without = run.evaluate(bare, root=str(trained.parent))
        assert found.curves[name]["accuracy"][-1] == without["accuracy"]
        assert found.curves[name]["macro_f1"][-1] == pytest.approx(without["macro_f1"])


def test_the_command_writes_curves_and_a_plot(trained, tmp_path, capsys):
    shared = ("--split", "validation", "--levels", "1", "--out", str(tmp_path))
    code = main(["evaluate", str(trained), "--degrade", *shared, "--reference", str(trained)])
    out, err = capsys.readouterr()
    assert code == 0, err
    found = read_json(tmp_path / "robustness.json")
    ways = ("dropped_words", "missing"), ("noise", "blur", "missing")
    names = [f"{m}/{w}" for m, of in zip(("text", "image"), ways, strict=True) for w in of]
    assert list(found["curves"]) == [*names, "all"]
    assert found["levels"] == [0.0, 1.0]
    one = found["curves"]["image/blur"]["accuracy"]
    assert one["relative_robustness"] == pytest.approx(sum(one["scores"]) / 2 / one["scores"][0])
    assert one["effective_robustness"] == 0.0
    assert {one.name for one in tmp_path.glob("*.png")} == {"accuracy.png", "macro_f1.png"}
    assert "effective" in out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Relative robustness is the share" in page
    assert ">Effective</th>" in page
    for name in names:
        assert f">{name}</th>" in page
    assert "robustness.json" in out
    assert "degrade" in err


def test_what_cannot_be_made_worse_is_refused(run, trained, capsys):
    with pytest.raises(ConfigError, match="'picture'"):
        conditions(run, ("picture",))
    with pytest.raises(ConfigError, match="levels"):
        degraded(run, levels=(0.0,))
    assert main(["evaluate", str(trained), "--levels", "1"]) == 2
    assert "--degrade" in capsys.readouterr().err
