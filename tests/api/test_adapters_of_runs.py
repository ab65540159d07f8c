"""A run with a LoRA: trained, resumed, evaluated; its adapter saved alone, swapped and merged."""

import dataclasses
import shutil
import types
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_run
from flax import traverse_util
from safetensors.numpy import load_file, save_file

from mmjax.api import adapters, describing
from mmjax.api.made_runs import evaluated
from mmjax.api.run import load_run
from mmjax.api.training import single_modality
from mmjax.checkpoint.load import load_arrays
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError, WeightsError
from mmjax.core.registry import Spec
from mmjax.models.config import ModelConfig
from mmjax.pretrained.load import load as load_pretrained
from mmjax.train.adapting import build
from mmjax.train.config import Config, InitConfig
from mmjax.train.trainer import fit
from mmjax.writers import read_records

ADAPT = {
    "text": Spec("adalora", rank=3, target=1, alpha=4.0, initial=1, final=1, every=1),
    "down": Spec("lora", rank=2, targets=("^encoders_text/.*/down$",)),
}

ROWS = {"words": ["wing nest", "fin water", "rock"], "id": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    data = tiny_run.write_data(tmp_path_factory.mktemp("data"))
    whole = tiny_run.config(data, "train.duration=4 steps", "train.log_every=1 steps")
    whole = config_lib.override(whole, ["train.ema_decay=0", "train.evaluate_every=4 steps"])
    text = Spec("text_transformer", width=8, heads=2, depth=2, mlp_dim=12, scan=True)
    model = dataclasses.replace(whole.model, encoders={"text": text})
    return single_modality(dataclasses.replace(whole, model=model, adapt=ADAPT), "text")


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch, tiny_run.one_device():
        tiny_run.numpy_start(patch)
        fit(config, folder)
    return load_run(folder)


def flat(tree):
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in found}


def probabilities(run, data):
    with tiny_run.one_device():
        return np.array([[*row["probabilities"].values()] for row in run.predict(data)])


def test_only_adapters_and_what_has_none_are_trained(run):
    before, after = (flat(load_arrays(run.folder.path, step)["params"]) for step in (2, 4))
    moved = {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"adapt", "fusion", "task"}
    moments = flat(load_arrays(run.folder.path, 4, prefixes=("opt_state",))["opt_state"])
    assert not [name for name in moments if "/encoders_text/" in name and "adapt" not in name]
    config = config_lib.to_json(run.config)["adapt"]
    assert config["down"]["rank"] == 2


def test_ranks_are_in_the_log(run):
    records = read_records(run.folder.metrics)
    ranks = [one["adapt/text/rank/all"] for one in records if "adapt/text/rank/all" in one]
    assert ranks[0] == 12
    assert ranks[-1] == 4
    layers = [name for name in records[0] if name.startswith("adapt/text/rank/encoders_text")]
    assert len(layers) == 4


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(run, config):
    """Stopped behind its second step, it goes on to the same end."""
    other = run.folder.path.with_name("other")
    shutil.copytree(run.folder.path, other)
    shutil.rmtree(other / "checkpoints" / "4")
    (other / "status.json").unlink()
    with tiny_run.one_device():
        fit(config, other, resume=True)
    ours, theirs = (flat(load_arrays(folder, 4)) for folder in (run.folder.path, other))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_saved_alone_and_swapped(run, tmp_path, capsys):
    run = load_run(run.folder.path)
    expected = probabilities(run, ROWS)
    folder = run.save_adapter(tmp_path / "mine")
    names = load_file(folder / "adapter.safetensors").keys()
    assert {name.split("/")[0] for name in names} == {"adapt", "fusion", "task"}
    assert main(["adapter", str(run.folder.path), str(tmp_path / "only"), "--only"]) == 0
    assert "MiB" in capsys.readouterr().out
    only = load_file(tmp_path / "only" / "adapter.safetensors")
    assert {name.split("/")[0] for name in only} == {"adapt"}
    changed = {name: value + 0.5 for name, value in only.items()}
    (tmp_path / "changed").mkdir()
    shutil.copy(tmp_path / "only" / "adapter.json", tmp_path / "changed")
    save_file(changed, tmp_path / "changed" / "adapter.safetensors")
    program = run._function
    run.load_adapter(tmp_path / "changed")
    other = probabilities(run, ROWS)
    assert np.abs(other - expected).max() > 1e-3
    run.load_adapter(folder)
    np.testing.assert_array_equal(probabilities(run, ROWS), expected)
    run.load_adapter(tmp_path / "changed")
    np.testing.assert_array_equal(probabilities(run, ROWS), other)
    run.load_adapter(None)
    np.testing.assert_array_equal(probabilities(run, ROWS), expected)
    assert run._function is program
    # The same from the command line: a run with the other adapters, and back to its own.
    told = [str(run.folder.path), str(tmp_path / "with"), "--put", str(tmp_path / "changed")]
    assert main(["adapter", *told]) == 0
    np.testing.assert_allclose(probabilities(load_run(tmp_path / "with"), ROWS), other, atol=1e-6)
    assert main(["adapter", told[1], str(tmp_path / "back"), "--put", str(folder)]) == 0
    assert flat(evaluated(load_run(tmp_path / "back"))[0]).keys() == flat(evaluated(run)[0]).keys()
    jax.tree.map(
        np.testing.assert_array_equal, evaluated(load_run(tmp_path / "back"))[0], evaluated(run)[0]
    )


@pytest.mark.slow
def test_merged_into_a_run_that_adapters_can_be_put_onto(run, tmp_path):
    run = load_run(run.folder.path)
    expected = probabilities(run, ROWS)
    folder = run.save_adapter(tmp_path / "mine")
    assert main(["adapter", str(run.folder.path), str(tmp_path / "merged"), "--merge"]) == 0
    merged = load_run(tmp_path / "merged")
    assert merged.config == dataclasses.replace(run.config, adapt={})
    assert "adapt" not in config_lib.to_json(merged.config)
    np.testing.assert_allclose(probabilities(merged, ROWS), expected, atol=1e-5)
    merged.load_adapter(folder)
    assert merged.config.adapt == run.config.adapt


@pytest.mark.slow
def test_a_run_starts_from_another_with_its_adapters(run, config, tmp_path):
    init = InitConfig(run=str(run.folder.path), step="latest")
    train = dataclasses.replace(config.train, keep_last=4)
    dora = {**ADAPT, "new": Spec("lora", rank=2, dora=True, targets=("/up$",))}
    with tiny_run.one_device():
        fit(dataclasses.replace(config, train=train, init=init, adapt=dora), tmp_path / "next")
    before = flat(load_arrays(run.folder.path, 4)["params"])
    after = flat(load_arrays(tmp_path / "next", 0)["params"])
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    new = {name for name in after if name not in before}
    assert {name.split("/")[1] for name in new} == {"new"}
    kernel = after["encoders_text/transformer/stack/layers/mlp/up/kernel"]
    site = "adapt/new/encoders_text.transformer.stack.layers.mlp.up"
    lengths = np.linalg.norm(kernel, axis=1)
    assert not after[f"{site}/b"].any()
    np.testing.assert_allclose(after[f"{site}/scale"], lengths, rtol=1e-5)


@pytest.mark.slow
def test_a_lora_of_peft_is_put_onto_a_run_and_written(tmp_path, monkeypatch):
    golden = Path(__file__).parents[1] / "golden" / "adapt"
    bert = load_pretrained(golden / "peft_bert", scan=True)
    params = {"encoders_text": bert.params, "task": {"head": {"kernel": np.ones((8, 2))}}}
    monkeypatch.setattr(adapters, "evaluated", lambda run: (params, {}))
    plain = Config(
        model=ModelConfig(
            encoders={"text": bert.spec}, pretrained={"text": str(golden / "peft_bert")}
        )
    )
    source = golden / "peft_lora_plain"
    config, arrays = adapters._load_peft(None, plain, source, None)
    assert config.adapt["text"].options["rank"] == 2
    assert all(name.startswith("adapt/text/encoders_text.") for name in arrays)
    whole = {**params, **traverse_util.unflatten_dict(arrays, sep="/")}
    monkeypatch.setattr(adapters, "evaluated", lambda run: (whole, {}))
    written = adapters.save(
        types.SimpleNamespace(config=config), tmp_path / "out", form="peft", names=["text"]
    )
    theirs, ours = (load_file(one / "adapter_model.safetensors") for one in (source, written))
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)


def test_what_does_not_fit_is_told(run, tmp_path):
    with pytest.raises(WeightsError, match=r"no adapter\.json"):
        run.load_adapter(tmp_path)
    folder = run.save_adapter(tmp_path / "mine")
    with pytest.raises(WeightsError, match="holds an adapter already"):
        run.save_adapter(folder)
    arrays = load_file(folder / "adapter.safetensors")
    arrays["task/head/kernel"] = arrays["task/head/kernel"][:-1]
    save_file(arrays, folder / "adapter.safetensors")
    with pytest.raises(CheckpointError, match="task/head/kernel"):
        run.load_adapter(folder)
    with pytest.raises(ConfigError, match="no adapter 'txt'"):
        run.save_adapter(tmp_path / "x", names=["txt"])
    with pytest.raises(ConfigError, match="holds one adapter, not 2"):
        run.save_adapter(tmp_path / "x", form="peft")
    with pytest.raises(ConfigError, match="no pretrained weights"):
        run.save_adapter(tmp_path / "x", form="peft", names=["down"])


def test_settings_are_checked_where_they_are_said(config):
    wrong = dataclasses.replace(config, adapt={"text": Spec("lora", rank=-1)})
    with pytest.raises(ConfigError, match=r"adapt\.text"):
        build(wrong, {"modalities": {}, "targets": {}})
    with pytest.raises(ConfigError, match="unknown adaptation 'loro'"):
        config_lib.override(config, ['adapt.text={"name": "loro"}'])
    added = config_lib.override(Config(), ['adapt.text={"name": "lora", "rank": 4}'])
    assert added.adapt == {"text": Spec("lora", rank=4)}
    assert (
        config_lib.from_json(Config, config_lib.to_json(added)).adapt["text"].options["rank"] == 4
    )


@pytest.mark.slow
def test_describe_tells_what_is_trained(config):
    with tiny_run.one_device():
        (_, _, facts) = describing.describe_config(config)[-1]
    told = dict(facts)
    assert " of " in told["trained parameters"]
    assert told["optimiser's memory"].endswith("MiB")
