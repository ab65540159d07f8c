"""What the benchmarks of ways of fine-tuning and of missing modalities choose, and their tables."""

from __future__ import annotations

import pytest
from package_files import ROOT

from mmjax.core import config as config_lib
from mmjax.train.config import Config

ABOUT = {
    "cores": 2,
    "cpu": "a cpu",
    "device": "a device",
    "python": "3",
    "date": "today",
    "versions": {"jax": "1"},
}


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gathered, missing_modality, strategies

    return strategies, missing_modality, gathered


def tuned(way, seed, factor, validation, test):
    return {
        "way": way,
        "seed": seed,
        "factor": factor,
        "steps": 800,
        "labels": 128,
        "parameters": 2000,
        "trained": 100,
        "optimizer_bytes": 2**20,
        "validation": {"accuracy": validation, "macro_f1": validation},
        "test": {"accuracy": test, "macro_f1": test / 2},
        "seconds": 10.0,
    }


def test_the_rate_is_chosen_on_validation_rows_of_the_first_seed(benchmarks):
    strategies, *_ = benchmarks
    runs = [tuned("lora", 0, 0.3, 0.5, 0.9), tuned("lora", 0, 1.0, 0.7, 0.6)]
    assert strategies.todo(runs, ["lora"]) == ["lora --seeds 0 --factors 3.0"]
    runs.append(tuned("lora", 0, 3.0, 0.7, 0.8))
    assert strategies.todo(runs, ["lora", "soup"]) == [
        "lora --seeds 1 2 --factors 1.0",
        "soup --seeds 0 --factors 1.0",
    ]
    runs += [tuned("lora", seed, 1.0, 0.7, 0.8) for seed in (1, 2)]
    assert strategies.todo(runs, ["lora"]) == []
    text = strategies.to_markdown({**ABOUT, "runs": runs})
    line = next(line for line in text.splitlines() if line.startswith("| LoRA"))
    scores, costs = "0.700 ± 0.000 | 0.733 ± 0.115 | 0.367 ± 0.058", "100 | 5.00% | 1.00 MiB"
    assert line == f"| LoRA | {scores} | {costs} | 10 | x1 |"
    assert "128 labels (10% of the training concepts), 800 steps" in text


def test_every_way_is_a_config_and_lora_and_adalora_end_with_one_budget(benchmarks, tmp_path):
    strategies, *_ = benchmarks
    made = {
        name: strategies.configured(name, seed=1, factor=3.0, steps=800, start=tmp_path)
        for name in strategies.WAYS
    }
    assert all(isinstance(config_lib.check(one), Config) for one in made.values())
    lora, adalora = (made[name].adapt["way"].options for name in ("lora", "adalora"))
    assert (lora["rank"], lora["targets"]) == (adalora["target"], adalora["targets"])
    assert made["lora"].optimizer.multipliers == {"^/encoders_image/": 0.0, "^/adapt/": 0.75}
    assert made["frozen"].optimizer.learning_rate == 3 * made["lora"].optimizer.learning_rate
    assert made["swa"].train.average_from == "50%"
    assert {one.train.duration for one in made.values()} == {"800 steps"}


def lost(arm, seed, rate, both, text, image):
    scores = {"text": text, "image": image} | ({"text+image": both} if both else {})
    return {
        "data": "quickstart",
        "arm": arm,
        "seed": seed,
        "rate": rate,
        "modalities": ["text", "image"],
        "validation": scores,
        "test": scores,
        "seconds": 10.0,
    }


def test_losses_are_told_beside_the_plain_model_and_models_of_one(benchmarks):
    _, missing, _ = benchmarks
    runs = [
        lost("plain", 0, 0.0, 0.8, 0.4, 0.5),
        lost("both", 0, 0.2, 0.9, 0.1, 0.1),
        lost("both", 0, 0.4, 0.8, 0.7, 0.6),
        lost("only", 0, 0.0, None, 0.75, 0.625),
    ]
    left = missing.todo(runs)
    assert "quickstart both --seeds 1 2 --rates 0.4" in left
    assert "quickstart dropout --seeds 0 --rates 0.2 0.4" in left
    lines = missing.to_markdown({**ABOUT, "runs": runs}).splitlines()
    assert lines[0].startswith("| EMOJI | both | without text | lost | of plain | short of alone |")
    cells = {line.split(" | ")[0]: line.split(" | ")[1:] for line in lines[2:]}
    found = cells["| modality dropout and missing tokens (0.4)"]
    # Without text 0.2 of 0.3 is lost, without the picture 0.1 of 0.4.
    assert found == ["0.800", "0.600", "0.200", "67%", "0.025", "0.700", "0.100", "25%", "0.050 |"]
    only = cells["| trained without it: a model of the other alone"]
    assert (only[1], only[5]) == ("0.625", "0.750")


def test_results_go_on_from_those_that_were_written(benchmarks, tmp_path):
    _, missing, gathered = benchmarks
    runs = [lost("plain", seed, 0.0, 0.8, 0.4, 0.5) for seed in (0, 1)]
    for run in runs:
        gathered.append(tmp_path / "lines", {**ABOUT, **run})
    missing.main(["table", str(tmp_path / "lines"), "--out", str(tmp_path)])
    stored = tmp_path / "missing_modality.json"
    assert gathered.gather([stored], missing.KEY) == [{**ABOUT, **run} for run in runs]


def test_lines_of_several_files_are_put_together(benchmarks, tmp_path):
    *_, gathered = benchmarks
    for name, value in (("a", 1), ("b", 2)):
        gathered.append(tmp_path / name, {"seed": 0, "value": value})
        gathered.append(tmp_path / name, {"seed": value, "value": 3})
    found = gathered.gather([tmp_path / name for name in ("a", "b", "none")], ("seed",))
    assert found == [
        {"seed": 0, "value": 2},
        {"seed": 1, "value": 3},
        {"seed": 2, "value": 3},
    ]
