"""A run that goes on with new rows: what it trains on, and when it is promoted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax.api import continuing
from mmjax.api.comparing import Compared
from mmjax.cli import main
from mmjax.core.errors import ConfigError, DataError
from mmjax.export import folder as folders
from mmjax.export.pointer import pointed
from mmjax.metrics.paired import Difference

SETTINGS = ("train.duration=2 steps", "train.evaluate_every=2 steps", "train.save_every=2 steps")


def _new(folder, count=30):
    """Rows with ids of their own."""
    path = tiny_run.write_data(folder, count, name="new", seed=9)
    rows = [{**row, "id": f"n{row['id']}"} for row in tiny_run.read_rows(path)]
    return tiny_run.write_rows(path, rows)


def _export(run, out):
    """A folder that is whole, with nothing in it that could be run."""
    with folders.writing(out) as folder:
        folders.write_manifest(folder, {"name": run.folder.path.name})
        for name in (folders.PARAMETERS, folders.CARD):
            (folder / name).write_text("")
    return out


@pytest.mark.slow
def test_a_run_goes_on(trained, tmp_path, capsys, monkeypatch):
    path, workdir, served = _new(tmp_path), tmp_path / "second", tmp_path / "served.json"
    monkeypatch.setattr(continuing, "export", _export)
    monkeypatch.setattr(continuing, "_decided", lambda *_: (True, "it is better"))
    arguments = ["continue", str(trained), "--data", str(path), "--workdir", str(workdir)]
    assert main([*arguments, "--served", str(served), "--resamples", "9", *SETTINGS]) == 0
    assert pointed(served) == workdir / continuing.EXPORTED
    told = json.loads((workdir / continuing.PROMOTION).read_text())
    assert (told["promoted"], told["metric"]) == (True, "accuracy")
    page = (workdir / continuing.PAGE).read_text()
    assert "New rows" in page
    assert "Old rows" in page
    run, old = mmjax.load_run(workdir), mmjax.load_run(trained)
    both, before = run.dataset(), old.dataset()
    first = len(before.table)
    for name, rows in before.splits.items():
        kept = both.splits[name][both.splits[name] < first]
        np.testing.assert_array_equal(kept, rows)
        assert (both.splits[name] >= first).any()
    assert run.config.optimizer.learning_rate == pytest.approx(2e-3)
    assert run.config.train.early_stopping_patience == 3
    # Half of what trains is old, though there are more old rows than new ones.
    weights = [part.weight for part in both.table.mixture.parts]
    assert weights[0] == pytest.approx(weights[1])
    assert run.facts["targets"] == old.facts["targets"]
    assert told["new"]["rows"] + told["old"]["rows"] == len(both.splits["test"])
    assert "promoted: it is better" in capsys.readouterr().out


def test_what_does_not_fit_is_refused(trained, tmp_path):
    rows = tiny_run.read_rows(_new(tmp_path))
    rows[3]["kind"] = "plant"
    path = tiny_run.write_rows(tmp_path / "new.csv", rows)
    with pytest.raises(DataError, match="plant"):
        mmjax.continue_run(trained, path, tmp_path / "second", settings=SETTINGS)
    assert not (tmp_path / "second").exists()
    with pytest.raises(ConfigError, match="replay = 1"):
        mmjax.continue_run(trained, path, tmp_path / "second", replay=1)
    with pytest.raises(ConfigError, match="a manifest's path"):
        mmjax.continue_run(trained, {"a": [1]}, tmp_path / "second")


def _comparison(metric, first, value, low, high):
    apart = Difference(value - first, low, high, 0.5)
    one = Compared(metric, "b", first, value, apart, 0.5)
    names = ("a", "b")
    return continuing.Comparison(names, "test", 9, 0.95, 10, (one,), {})


@pytest.mark.parametrize(
    ("metric", "new", "old", "promoted", "why"),
    [
        ("accuracy", (0.5, 0.7, 0, 0), (0.9, 0.9, -0.01, 0.01), True, "0.5000 to 0.7000"),
        ("accuracy", (0.5, 0.5, 0, 0), (0.9, 0.9, -0.01, 0.01), False, "not better"),
        ("accuracy", (0.5, 0.7, 0, 0), (0.9, 0.88, -0.05, 0.01), False, "worse by 0.0500"),
        ("accuracy", (0.5, 0.7, 0, 0), None, True, "no old test rows"),
        ("mae", (0.5, 0.3, 0, 0), (0.9, 0.9, -0.01, 0.01), True, "0.5000 to 0.3000"),
        ("mae", (0.5, 0.3, 0, 0), (0.9, 0.95, 0.01, 0.09), False, "worse by 0.0900"),
        ("mae", (0.3, 0.5, 0, 0), (0.9, 0.9, -0.01, 0.01), False, "not better"),
    ],
)
def test_when_it_is_promoted(metric, new, old, promoted, why):
    found = [None if one is None else _comparison(metric, *one) for one in (new, old)]
    decided, told = continuing._decided(found[0], found[1], metric, 0.02)
    assert decided is promoted
    assert why in told
