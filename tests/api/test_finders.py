"""A learning rate and a batch size: rules against closed forms, and one real step each."""

from __future__ import annotations

import jax
import made_runs
import numpy as np
import pytest
import tiny_run

from mmjax.api.batch_size import find_batch_size, largest, memory_of_step
from mmjax.api.cross_validation import prepared
from mmjax.api.learning_rate import find_learning_rate, smoothed, steepest
from mmjax.cli import main
from mmjax.cli.finders import byte_count
from mmjax.core.errors import ConfigError, NumericError
from mmjax.core.files import read_json
from mmjax.train.ahead import StepMemory
from mmjax.train.example import example_batch
from mmjax.train.trainer import Trainer


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return made_runs.config(tmp_path_factory.mktemp("finders"))


def test_the_steepest_rate_is_that_of_a_curve_whose_slope_is_known():
    rates = np.geomspace(1e-6, 1.0, 121)
    logs = np.log10(rates)
    # A fall by a logistic function, steepest at 1e-3, and a rise from 1e-1 on.
    losses = 2.0 - 1.0 / (1.0 + np.exp(-3 * (logs + 3))) + np.maximum(logs + 1, 0) ** 2 * 4
    assert steepest(rates.tolist(), losses.tolist()) == pytest.approx(1e-3, rel=0.06)
    with pytest.raises(NumericError, match="falls at no"):
        steepest(rates.tolist(), (1 + rates).tolist())


def test_the_running_mean_is_corrected_for_its_start():
    assert smoothed([2.0] * 5) == pytest.approx([2.0] * 5)
    weights = 0.5 ** np.arange(2, -1, -1) * 0.5
    expected = np.dot(weights, [1.0, 4.0, 9.0]) / weights.sum()
    assert smoothed([1.0, 4.0, 9.0], 0.5)[-1] == pytest.approx(expected)


@pytest.mark.parametrize("start", [1, 32, 300])
@pytest.mark.parametrize("limit", [0, 99, 100, 1000, 1234, 6500, 10**6])
@pytest.mark.parametrize("bend", [0.0, 0.2])
def test_the_largest_size_is_within_the_limit_and_near_it(limit, start, bend):
    def bytes_of(size):
        return int(36 + 16 * size + bend * size**2)

    asked, best, most = largest(bytes_of, limit, start=start, smallest=4, most=256)
    fitting = [size for size in range(4, 257, 4) if bytes_of(size) <= limit]
    assert most == (limit >= bytes_of(256))
    if not fitting:
        assert best is None
        assert list(asked)[-1] == 4
        return
    assert bytes_of(best) <= limit
    assert fitting[-1] - best <= max(4, best // 8)
    assert len(asked) <= 8


def test_a_range_test_takes_the_real_step_until_it_diverges(config, tmp_path, monkeypatch, capsys):
    tiny_run.numpy_start(monkeypatch)
    path = tiny_run.write_config(tmp_path / "config.py", config)
    command = ["tune", str(path), "--find", "learning-rate", "--steps", "24", "--workdir"]
    assert main([*command, str(tmp_path), "--low", "1e-4", "--high", "1000"]) == 0
    assert "optimizer.learning_rate=" in capsys.readouterr().out
    found = read_json(tmp_path / "learning_rate.json")
    rates = np.geomspace(1e-4, 1000, 24)[: len(found["rates"])]
    np.testing.assert_allclose(found["rates"], rates, rtol=1e-4)
    # Nothing is learnt at the first rate: the loss is that of the classes' logarithm, nearly.
    assert found["losses"][0] == pytest.approx(np.log(3), abs=0.4)
    assert found["diverged"]
    assert 1e-4 < found["suggestion"] < found["rates"][-1]
    assert (tmp_path / "learning_rate.png").exists()
    with pytest.raises(ConfigError, match="low = 1"):
        find_learning_rate(config, low=1, high=0.1)


def test_a_batch_size_is_found_from_the_compiled_step_alone(config, monkeypatch):
    dataset = prepared(config)
    compiled = memory_of_step(config, dataset)
    trainer = Trainer.build(config, dataset)
    state, batch = (
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
        for tree in (trainer.state, example_batch(dataset, 8))
    )
    # What the step does not read, such as the rows' numbers, is no argument of it.
    assert state < compiled.arguments <= state + batch
    assert compiled.arguments < compiled.total < 10**6
    seen, told = [], []

    def memory(config, dataset):
        seen.append(config.data.batch_size)
        return StepMemory(100, 0, 10 * config.data.batch_size, 0)

    monkeypatch.setattr("mmjax.api.batch_size.memory_of_step", memory)
    found = find_batch_size(config, memory=420, told=lambda *one: told.append(one))
    assert (found.best, found.most) == (32, False)
    assert sorted(told) == list(found.bytes.items())
    assert seen == [8, 16, 32, 36]
    assert find_batch_size(config, memory=105).best is None
    assert find_batch_size(config).limit > 10**8


def test_sizes_are_read_and_what_is_looked_in_is_checked(tmp_path, capsys):
    assert [byte_count(one) for one in ("16GB", "80GiB", "1.5 k", "7")] == [
        16 * 10**9,
        80 * 2**30,
        1500,
        7,
    ]
    with pytest.raises(ConfigError, match="16GB"):
        byte_count("much")
    assert main(["tune", str(tmp_path), "--find", "batch-size"]) == 2
    assert "looks at a config" in capsys.readouterr().err
    assert main(["tune", "config.py"]) == 2
    assert "--workdir" in capsys.readouterr().err
