"""The mean of the weights of several checkpoints, as a run."""

import shutil

import numpy as np
import pytest
from flax import traverse_util

import mmjax
from mmjax.api.run import Run
from mmjax.api.souping import greedy, mean, soup
from mmjax.checkpoint.load import load_arrays
from mmjax.cli import main
from mmjax.core.errors import CheckpointError, ConfigError
from mmjax.core.files import read_json


@pytest.fixture(scope="module")
def steps(trained):
    """The run at its steps that were kept."""
    found = sorted(int(path.name) for path in (trained / "checkpoints").iterdir())
    assert len(found) >= 2
    return [Run(trained, step=step) for step in found]


def averages(run, step):
    return traverse_util.flatten_dict(load_arrays(run, step, prefixes=("ema",))["ema"], sep="/")


def test_a_uniform_soup_is_the_mean_of_what_the_runs_evaluate_with(steps, trained, tmp_path):
    made = mmjax.soup(steps, tmp_path / "soup")
    several = [averages(trained, one.step) for one in steps]
    found = traverse_util.flatten_dict(load_arrays(made.folder.path)["params"], sep="/")
    assert found.keys() == several[0].keys()
    for name, leaf in found.items():
        wanted = np.mean([np.float64(one[name]) for one in several], axis=0)
        np.testing.assert_allclose(leaf, wanted, rtol=1e-6, atol=1e-8)
        assert leaf.dtype == several[0][name].dtype
    told = read_json(made.folder.path / "soup.json")
    assert [one["taken"] for one in told["runs"]] == [True] * len(steps)
    best = steps[0].evaluate(split="validation")
    assert told["runs"][0]["value"] == pytest.approx(best["accuracy"])
    assert read_json(made.folder.path / "metrics.json").keys() == {"validation", "test"}
    assert (made.folder.path / "report.html").is_file()
    assert Run(made.folder.path).evaluate() == made.metrics["test"]


def test_greedy_takes_what_does_not_make_it_worse():
    """By hand: the best alone has 5; with the third 5, which is kept; with the second 4.9."""
    seen, table = [], {(2, 0): 5.0, (2, 0, 1): 4.9, (2, 0, 3): 6.0}

    def of(some):
        seen.append(tuple(some))
        return table[tuple(some)]

    assert greedy([4.0, 3.0, 5.0, 1.0], of) == [0, 2, 3]
    assert seen == [(2, 0), (2, 0, 1), (2, 0, 3)]


def test_whole_numbers_are_those_of_the_first():
    found = mean([{"n": np.int32(3), "x": np.float32(1)}, {"n": np.int32(8), "x": np.float32(2)}])
    assert (int(found["n"]), float(found["x"])) == (3, 1.5)


def test_a_greedy_soup_by_command(trained, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    assert main(["soup", str(trained), str(other), str(tmp_path / "soup"), "--greedy"]) == 0
    told = read_json(tmp_path / "soup" / "soup.json")
    assert told["method"] == "greedy"
    assert [one["run"] for one in told["runs"]] == [str(trained), str(other)]
    # The same weights twice are no worse than once.
    assert [one["taken"] for one in told["runs"]] == [True, True]
    assert Run(tmp_path / "soup").evaluate() == pytest.approx(Run(trained).evaluate(), nan_ok=True)
    assert "validation accuracy" in capsys.readouterr().out
    assert main(["soup", str(trained), str(other), str(tmp_path / "soup")]) != 0


def test_what_does_not_belong_together_is_refused(trained, tmp_path):
    with pytest.raises(ConfigError, match="1 run"):
        soup([trained], tmp_path / "out")
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    label = next((other / "processors" / "targets").rglob("*.json"))
    label.write_text(label.read_text().replace("bird", "bard"))
    with pytest.raises(CheckpointError, match="reads its data in another way"):
        soup([trained, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()
