"""Runs that start from other runs: what is taken, under which name, and what is refused."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_run
from flax import traverse_util

from mmjax.api.run import Run
from mmjax.api.training import single_modality
from mmjax.checkpoint import orbax_io
from mmjax.checkpoint.load import load_arrays
from mmjax.checkpoint.store import Checkpoints
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError
from mmjax.core.files import read_json
from mmjax.core.registry import Spec
from mmjax.data.config import modalities
from mmjax.data.meaning import meaning
from mmjax.data.pipeline import prepare
from mmjax.parallel.mesh import make_mesh
from mmjax.train import from_run, transfer
from mmjax.train import trainer as trainer_module
from mmjax.train.config import Config, InitConfig
from mmjax.train.other_run import alone, processor_folders, with_run
from mmjax.train.trainer import Trainer, fit
from mmjax.train.warm_start import with_encoders


def pretraining(data: Path) -> Config:
    """Two steps of contrastive training on texts and drawings."""
    whole = tiny_run.config(data, "train.duration=2 steps", "train.save_every=2 steps")
    text, drawing = (whole.data.modalities[name] for name in ("text", "image"))
    encoders = {"text": whole.model.encoders["text"], "drawing": whole.model.encoders["image"]}
    return dataclasses.replace(
        whole,
        data=dataclasses.replace(
            whole.data, modalities={"text": text.replace(buckets=32), "drawing": drawing}
        ),
        model=dataclasses.replace(
            whole.model, encoders=encoders, modality_dropout=0.0, joint_dim=8
        ),
        objectives={"contrastive": Spec("contrastive")},
        train=dataclasses.replace(whole.train, best_metric="recall@1"),
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_run.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory) -> Path:
    with tiny_run.one_device():
        return fit(pretraining(data), tmp_path_factory.mktemp("pretrained") / "run").path


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Path:
    """Rows whose words no pretraining row had."""
    folder = tmp_path_factory.mktemp("others")
    path = tiny_run.write_data(folder, seed=1)
    rows = tiny_run.read_rows(path)
    for row in rows:
        row["words"] = " ".join(word[::-1] for word in row["words"].split())
    return tiny_run.write_rows(path, rows)


def tuning(others: Path, run: Path, *changes: str) -> Config:
    whole = tiny_run.config(
        others,
        "train.duration=3 steps",
        f"init.run={run}",
        "init.modalities={'image': 'drawing', 'text': 'text'}",
        *changes,
    )
    return whole


def begun(config: Config) -> tuple[Trainer, from_run.Started]:
    config = config_lib.check(with_encoders(config))
    trainer = Trainer.build(config, prepare(config.data, taken=processor_folders(config)))
    return trainer, trainer.begin()


def flat(tree) -> dict[str, np.ndarray]:
    return {k: np.asarray(v) for k, v in traverse_util.flatten_dict(tree, sep="/").items()}


def test_averages_of_the_encoders_go_over_under_the_names_of_the_config(pretrained, others):
    with tiny_run.one_device():
        trainer, told = begun(tuning(others, pretrained))
    stored = load_arrays(pretrained, "latest")
    ours, averages = flat(trainer.state.params), flat(stored["ema"])
    assert told.averaged
    assert told.step == 2
    names = {n: n.replace("encoders_image", "encoders_drawing") for n in ours if "encoders" in n}
    assert told.plan.taken == names
    for name, theirs in names.items():
        np.testing.assert_array_equal(ours[name], averages[theirs])
        np.testing.assert_array_equal(flat(trainer.state.ema)[name], averages[theirs])
    # A step moved the parameters, so the averages are something else.
    weight = "encoders_text/subwords/embedding"
    assert not np.array_equal(averages[weight], flat(stored["params"])[weight])
    fresh = flat(trainer.plan.make().params)
    assert set(told.plan.new) == ours.keys() - names.keys()
    for name in told.plan.new:
        np.testing.assert_array_equal(ours[name], fresh[name])
    assert {transfer.part_of(n) for n in told.plan.left} >= {"joint", "objectives_contrastive"}


def test_the_tokenizer_goes_over_with_the_encoder(pretrained, others):
    with tiny_run.one_device():
        trainer, _ = begun(tuning(others, pretrained))
    theirs = Run(pretrained)
    assert trainer.dataset.facts["modalities"]["text"] == theirs.facts["modalities"]["text"]
    cells, text = {"words": "feather wing"}, trainer.dataset.modalities["text"]
    same = theirs.dataset().modalities["text"]
    ids = [one.example(cells, None, None)["input_ids"] for one in (text, same)]
    np.testing.assert_array_equal(*ids)
    alone = prepare(trainer.config.data)
    assert not np.array_equal(
        alone.modalities["text"].example(cells, None, None)["input_ids"], ids[0]
    )


def test_what_is_excluded_stays_new_with_a_tokenizer_of_its_own(pretrained, others):
    changes = ("init.exclude=encoders_text", "data.modalities.text.tokenizer=wordpiece")
    config = with_encoders(tuning(others, pretrained, *changes))
    assert list(processor_folders(config)) == ["image"]
    with tiny_run.one_device():
        trainer, told = begun(config)
    assert {transfer.part_of(name) for name in told.plan.taken} == {"encoders_image"}
    assert trainer.dataset.facts["modalities"]["text"]["vocab_size"] != 82


def test_encoders_that_the_config_leaves_out_are_those_of_the_run(pretrained, others):
    config = tuning(others, pretrained, "model.encoders={'text': {'name': 'bag_of_subwords'}}")
    whole = with_encoders(config).model.encoders
    theirs = Run(pretrained).config.model.encoders
    assert config_lib.to_json(Config(model=dataclasses.replace(config.model, encoders=whole)))[
        "model"
    ]["encoders"] == {
        name: config_lib.to_json(Run(pretrained).config)["model"]["encoders"][other]
        for name, other in (("text", "text"), ("image", "drawing"))
    }
    assert whole["image"].options["width"] == theirs["drawing"].options["width"] == 8


def test_on_a_mesh_each_device_reads_its_part(pretrained, others, monkeypatch):
    one, _ = begun(tuning(others, pretrained))
    asked = {}
    read = orbax_io.read
    monkeypatch.setattr(
        orbax_io, "read", lambda *args, **kwargs: asked.update(args[1]) or read(*args, **kwargs)
    )
    devices = jax.local_devices()
    monkeypatch.setattr(trainer_module, "make_mesh", lambda config: make_mesh(config, devices))
    eight, told = begun(tuning(others, pretrained, "mesh.fsdp=4", "mesh.data=2"))
    kernel = asked["ema/encoders_drawing/stage_0/kernel"]
    assert np.prod(kernel.sharding.shard_shape(kernel.shape)) * 4 == np.prod(kernel.shape)
    assert asked.keys() == {f"ema/{name}" for name in told.plan.taken.values()}
    ours, theirs = flat(one.state.params), flat(eight.state.params)
    for name in told.plan.taken:
        np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.fixture(scope="module")
def interrupted(pretrained, others, tmp_path_factory):
    """A run that stops after one step of three, and one that did not; then their start is gone."""
    folder = tmp_path_factory.mktemp("tuned")
    source = folder / "pretrained"
    shutil.copytree(pretrained, source)
    config = tuning(others, source, "train.save_every=100 steps", "train.keep_last=9")
    with tiny_run.one_device(), pytest.MonkeyPatch.context() as patch:
        whole = fit(config, folder / "whole")

        def stop(self, *_):
            raise KeyboardInterrupt

        patch.setattr(Trainer, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(config, folder / "stopped")
    shutil.rmtree(source)
    return config, whole, folder / "stopped"


def test_a_run_goes_on_without_what_it_started_from(interrupted):
    config, whole, stopped = interrupted
    with tiny_run.one_device():
        run = fit(config, stopped, resume=True)
    for root in ("params", "ema"):
        jax.tree.map(
            np.testing.assert_array_equal,
            load_arrays(run.path, "latest")[root],
            load_arrays(whole.path, "latest")[root],
        )
    assert Run(run.path).predict({"id": ["a"], "words": ["feather"], "picture": [None]})


def test_what_was_taken_is_kept_with_the_run(interrupted):
    config, whole, _ = interrupted
    stored = read_json(whole.path / "init.json")
    assert (stored["run"], stored["step"], stored["averaged"]) == (config.init.run, 2, True)
    assert stored["taken"]["encoders_image/pooled/bias"] == "encoders_drawing/pooled/bias"
    names = sorted([*stored["taken"], *stored["new"]])
    assert names == sorted(flat(load_arrays(whole.path)["params"]))


def test_going_on_from_another_run_is_refused(interrupted, others):
    _, whole, _ = interrupted
    with pytest.raises(ConfigError, match="init"):
        fit(tuning(others, whole.path), whole.path, resume=True)


def test_a_table_is_told(pretrained, others, capsys):
    with tiny_run.one_device():
        begun(tuning(others, pretrained))[1].tell()
    told = capsys.readouterr().out
    assert "step 2, averaged weights" in told
    assert "encoders_drawing" in told
    assert "left there: joint, objectives_contrastive" in told


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        (["init.run="], ConfigError, "init needs a run"),
        (["init.run=/nowhere/run"], CheckpointError, "is not a run"),
        (["init.step=7"], CheckpointError, "no whole checkpoint of step 7"),
        (["init.modalities.image=pictures"], ConfigError, "no modality 'pictures'.*drawing"),
        (["init.modalities.sound=text"], ConfigError, "no modality 'sound' in the data"),
        (["init.include=encoder_text"], ConfigError, "did you mean 'encoders_text'"),
        (["init.exclude=encoders_txt"], ConfigError, "did you mean 'encoders_text'"),
        (["init.include=task"], ConfigError, "finds no parameter that both runs have"),
        (["init.exclude=*"], ConfigError, "no parameter is taken"),
        (
            ["model.encoders.text.width=16"],
            CheckpointError,
            r"\[\d+ 16\] here, \[\d+ 8\] there.*model.encoders.text.width=8 or "
            "init.exclude=encoders_text/subwords/embedding",
        ),
        (
            ["model.encoders.image=conv1d"],
            ConfigError,
            "is a image_cnn, not a conv1d.*init.exclude=encoders_image",
        ),
        (
            ["data.modalities.text.tokenizer=bpe"],
            ConfigError,
            "'bpe' here, 'subwords' there.*data.modalities.text.tokenizer=subwords",
        ),
        (["data.modalities.image.mean=0.3"], ConfigError, r"mean \(0.3,\) here, \(0.5,\) there"),
    ],
)
def test_what_does_not_fit_is_refused(changes, error, told, pretrained, others, tmp_path):
    with tiny_run.one_device(), pytest.raises(error, match=told):
        fit(tuning(others, pretrained, *changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_options_of_the_same_shapes_are_warned_of(pretrained, others, caplog):
    with tiny_run.one_device(), caplog.at_level(logging.WARNING):
        begun(tuning(others, pretrained, "model.encoders.text.combiner=sqrtn"))
    assert "model.encoders.text.combiner=mean" in caplog.text


def test_the_runs_of_single_modalities_start_from_their_own_part(pretrained, others):
    config = with_run(tuning(others, pretrained, "init.include=encoders_image,encoders_text"))
    assert single_modality(config, "image").init == dataclasses.replace(
        config.init, include=("encoders_image",), modalities={"image": "drawing"}
    )
    only = dataclasses.replace(config.init, include=("encoders_image",))
    assert alone(only, "text") is None
    assert alone(None, "text") is None


def test_a_damaged_run_is_refused(pretrained, others, tmp_path):
    shutil.copytree(pretrained, tmp_path / "pretrained")
    for path in (tmp_path / "pretrained" / "checkpoints").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-1])
    with tiny_run.one_device(), pytest.raises(CheckpointError, match="damaged"):
        fit(tuning(others, tmp_path / "pretrained"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_statistics_of_normalisations_go_over_and_parameters_where_none_are_averaged(
    pretrained, others, tmp_path
):
    """A run by hand, whose checkpoint has a collection and no average."""
    shutil.copytree(pretrained, tmp_path / "pretrained")
    shutil.rmtree(tmp_path / "pretrained" / "checkpoints")
    with tiny_run.one_device():
        trainer, _ = begun(tuning(others, pretrained))
        params = load_arrays(pretrained, "latest")["params"]
        theirs = {
            "params": params,
            "collections": {
                "batch_stats": {"encoders_drawing": {"mean": np.full(3, 2, np.float32)}}
            },
        }
        with Checkpoints(tmp_path / "pretrained" / "checkpoints") as checkpoints:
            checkpoints.save(5, theirs, data_state={})
        ours = {"batch_stats": {"encoders_image": {"mean": jax.numpy.zeros(3)}}}
        state = dataclasses.replace(trainer.plan.make(), collections=ours)
        config = dataclasses.replace(
            trainer.config,
            init=dataclasses.replace(trainer.config.init, run=str(tmp_path / "pretrained")),
        )
        state, told = from_run.start(state, config, trainer.dataset.facts)
    assert not told.averaged
    assert told.step == 5
    np.testing.assert_array_equal(state.collections["batch_stats"]["encoders_image"]["mean"], 2.0)
    embedding = "encoders_text/subwords/embedding"
    np.testing.assert_array_equal(flat(state.params)[embedding], flat(params)[embedding])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoders_image/stage_0/kernel", "encoders_noto/stage_0/kernel"),
        ("encoders_alt_text/words", "encoders_alt_text/words"),
        ("encoders_text/image/kernel", "encoders_name/image/kernel"),
        ("encoders_audio/kernel", None),
        ("joint/image/kernel", "joint/noto/kernel"),
        ("fusion/image_tokens/kernel", "fusion/noto_tokens/kernel"),
        ("fusion/project_text/kernel", "fusion/project_name/kernel"),
        ("task/dense/kernel", "task/dense/kernel"),
    ],
)
def test_names_in_the_other_run(name, expected):
    pairs = {"image": "noto", "text": "name", "alt_text": "alt_text"}
    assert transfer.counterpart(name, pairs, [*pairs, "audio"]) == expected


def plan(ours, theirs, **options):
    differs = options.pop("differs", lambda part: "")
    init = InitConfig(run="other", modalities={"text": "text"}, **options)
    return transfer.plan(
        dict.fromkeys(ours, (2,)), dict.fromkeys(theirs, (2,)), init, ["text"], differs=differs
    )


def test_an_encoder_is_taken_whole_or_what_is_missing_is_excluded():
    names = ["encoders_text/words/embedding", "encoders_text/top/kernel", "encoders_text/top/bias"]
    with pytest.raises(CheckpointError, match=r"2 that the run lacks.*exclude=encoders_text/top$"):
        plan(names, names[:1])
    found = plan(names, names[:1], exclude=("encoders_text/top",))
    assert found.new == tuple(names[1:])
    # Outside of encoders, what the other run lacks is new.
    assert plan(["fusion/a", "fusion/b"], ["fusion/a"]).taken == {"fusion/a": "fusion/a"}


def test_patterns_are_globs_and_mean_what_lies_below():
    names = ["encoders_text/words/embedding", "encoders_text/head/kernel", "task/kernel"]
    found = plan(names, names, include=("encoders_*",), exclude=("*/head",))
    assert list(found.taken) == names[:1]
    assert plan(names, names, include=("encoders_text", "task/kern?l")).new == ()


def test_a_part_that_is_another_thing_stays_new_and_is_told():
    def differs(part):
        return "other labels" if part == "task" else ""

    found = plan(["task/kernel", "joint/a"], ["task/kernel", "joint/a"], differs=differs)
    assert found.reasons == {"task": "other labels"}
    assert found.new == ("task/kernel",)
    with pytest.raises(ConfigError, match="task: other labels"):
        plan(["task/kernel"], ["task/kernel"], include=("task",), differs=differs)
    with pytest.raises(ConfigError, match="task: other labels"):
        plan(["task/kernel"], ["task/kernel"], differs=differs)


@pytest.mark.parametrize("name", sorted(modalities))
def test_every_modality_says_what_gives_its_numbers_meaning(name):
    assert meaning(Spec(name)).keys() <= modalities.settings(name).keys()
    assert meaning(Spec(name))
