"""A run beside the pretrained one that it began from, on the same rows."""

import dataclasses

import numpy as np
import pytest
import tiny_run
from sklearn.linear_model import LogisticRegression

import mmjax
from mmjax.api import before_after
from mmjax.api.before_after import PROBE, ZERO_SHOT
from mmjax.api.evaluating import evaluate_into
from mmjax.api.run import Run
from mmjax.api.training import comparison
from mmjax.checkpoint.load import load_arrays
from mmjax.cli import summary
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json
from mmjax.core.registry import Spec
from mmjax.train.config import InitConfig
from mmjax.train.trainer import fit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    data = tiny_run.write_data(tmp_path_factory.mktemp("data"))
    return tiny_run.config(
        data, "train.duration=2 steps", "train.save_every=2 steps", "train.evaluate_every=2 steps"
    )


@pytest.fixture(scope="module")
def pretrained(whole, tmp_path_factory):
    config = dataclasses.replace(
        whole,
        model=dataclasses.replace(whole.model, modality_dropout=0.0, joint_dim=8),
        objectives={"contrastive": Spec("contrastive")},
        train=dataclasses.replace(whole.train, best_metric="recall@1"),
    )
    with pytest.MonkeyPatch.context() as patch:
        tiny_run.numpy_start(patch)
        return fit(config, tmp_path_factory.mktemp("pretrained") / "run").path


@pytest.fixture(scope="module")
def run(whole, pretrained, tmp_path_factory):
    init = InitConfig(run=str(pretrained), include=("encoders_*",))
    config = config_lib.override(
        dataclasses.replace(whole, init=init),
        ["train.before_after=always", "optimizer.learning_rate=0.3", "train.ema_decay=0"],
    )
    with pytest.MonkeyPatch.context() as patch:
        tiny_run.plain_figures(patch)
        tiny_run.numpy_start(patch)
        return mmjax.train(config, tmp_path_factory.mktemp("tuned") / "run")


def test_the_probe_is_of_the_weights_before(run, pretrained):
    """As scikit-learn fits it on what the pretraining run's encoders say."""
    dataset = run.dataset(labels=True)
    other = load_arrays(pretrained, prefixes=("ema",))["ema"]
    mine = Run(run.folder.path)
    params, _ = mine._ready(dataset)
    mine.adopt({"params": {**params["params"], **{k: other[k] for k in other if "enc" in k}}})
    x, y = {}, {}
    for split in ("train", "validation", "test"):
        found = mine.embed_dataset(dataset, split)
        x[split] = np.concatenate([found["text"], found["image"]], axis=1)
        y[split] = mine.evaluate_dataset(dataset, split).targets["label"]
    mean, deviation = x["train"].mean(axis=0), x["train"].std(axis=0)
    x = {name: (one - mean) / deviation for name, one in x.items()}
    fitted = [
        LogisticRegression(C=1 / (l2 * len(y["train"])), max_iter=10_000, tol=1e-8)
        for l2 in (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    ]
    scores = [
        one.fit(x["train"], y["train"]).score(x["validation"], y["validation"]) for one in fitted
    ]
    wanted = fitted[int(np.argmax(scores))].predict_proba(x["test"])
    evaluation = run.evaluate_dataset(dataset, "test")
    kept = before_after.kept(run, evaluation)[PROBE]
    # Where the classes can be told apart, weights go on growing for ever.
    np.testing.assert_allclose(kept.predictions["probabilities"], wanted, atol=0.03)
    told = read_json(run.folder.path / "before_after.json")
    right = wanted.argmax(axis=1) == y["test"]
    assert told["models"][PROBE]["accuracy"] == pytest.approx(right.mean())
    assert told["models"][PROBE]["low"] <= right.mean() <= told["models"][PROBE]["high"]
    tuned = evaluation.predictions["probabilities"].argmax(axis=1) == y["test"]
    assert told["gained"][PROBE]["value"] == pytest.approx(tuned.mean() - right.mean())
    assert told["gained"][PROBE]["low"] <= told["gained"][PROBE]["high"]
    assert (told["split"], told["rows"], told["left_out"]) == ("test", len(right), {})


def test_a_frozen_encoder_is_probed_on_its_features(whole, pretrained, tmp_path, monkeypatch):
    """All that is measured after training is what it is without features kept."""
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)
    init = InitConfig(run=str(pretrained), include=("encoders_text",))
    config = config_lib.override(
        dataclasses.replace(whole, init=init),
        [
            "train.before_after=always",
            "train.single_modality_baselines=true",
            "model.encoders.text.token_dropout=0",
            "model.encoders.text.dropout=0",
            'optimizer.multipliers={"^/encoders_text/": 0.0}',
        ],
    )
    plain = mmjax.train(config, tmp_path / "plain")
    embedded = []
    was = Run.embed_dataset
    monkeypatch.setattr(Run, "embed_dataset", lambda *a, **k: embedded.append(a) or was(*a, **k))
    cached = config_lib.override(config, [f"train.feature_cache.text={tmp_path / 'features'}"])
    kept = mmjax.train(cached, tmp_path / "kept")
    # The zero-shot answer is the pretrained run's; the probe's vectors are none that are made.
    assert not [told for told in embedded if len(told) > 3]
    assert kept.features is None
    for name in ("", "alone/text", "alone/image"):
        ours, theirs = (Run(one.folder.path / name).metrics for one in (kept, plain))
        assert ours.keys() == theirs.keys() == {"validation", "test"}
        for split, metrics in ours.items():
            assert metrics == pytest.approx(theirs[split], rel=1e-4, nan_ok=True)
    ours, theirs = (before_after.told(one)["models"] for one in (kept, plain))
    assert ours[PROBE] == pytest.approx(theirs[PROBE], rel=1e-4)


def test_zero_shot_is_that_of_the_pretrained_run(run, pretrained):
    wanted = Run(pretrained).zero_shot(names=list(tiny_run.LABELS), split="test")
    evaluation = run.evaluation(split="test")
    kept = before_after.kept(run, evaluation)[ZERO_SHOT].predictions["probabilities"]
    names = run.module.task.label_names
    for row, one in zip(kept, wanted, strict=True):
        np.testing.assert_allclose(row, [one["probabilities"][n] for n in names], atol=1e-5)


def test_reports_show_all_three(run, capsys):
    assert list(comparison(run)) == [ZERO_SHOT, PROBE, "fused"]
    page = run.folder.report.read_text()
    assert PROBE in page
    assert ZERO_SHOT in page
    summary.finished(run)
    gained = read_json(run.folder.path / "before_after.json")["gained"][PROBE]["value"]
    assert f"tuned minus {PROBE}: accuracy {gained:+.3f} (95 %: " in capsys.readouterr().out
    evaluate_into(run)
    assert PROBE in run.folder.report.read_text()


def test_it_is_asked_for_or_cheap(run, whole, tmp_path):
    dataset = run.dataset(labels=True)
    evaluation = run.evaluate_dataset(dataset, "test")

    def asked(**changes):
        run.config = dataclasses.replace(
            run.config, train=dataclasses.replace(run.config.train, **changes)
        )
        return before_after.wanted(run, dataset, evaluation)

    known = run.config
    tokens = {"probabilities": np.zeros((4, 5, 3))}
    each = dataclasses.replace(evaluation, predictions=tokens)
    with pytest.raises(ConfigError, match="nothing to measure"):
        before_after.wanted(run, dataset, each)
    assert asked(before_after="always")
    assert not asked(before_after="never")
    # 40 rows are a quarter of 20 steps of 8 rows.
    assert not asked(before_after="", duration="19 steps")
    assert asked(before_after="", duration="20 steps")
    run.config = dataclasses.replace(known, init=None)
    assert not asked(before_after="", duration="20 steps")
    with pytest.raises(ConfigError, match="nothing to measure"):
        asked(before_after="always")
    run.config = known
