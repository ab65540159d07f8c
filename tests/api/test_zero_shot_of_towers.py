"""Classes by their names, of runs whose pictures a tower of a small random CLIP reads."""

import dataclasses
import types

import numpy as np
import pytest
import tiny_clip
import tiny_run

import mmjax
from mmjax.api import before_after
from mmjax.api.before_after import PROBE, ZERO_SHOT
from mmjax.api.zero_shot_of_towers import Tower, of_names, tower_of
from mmjax.cli import summary
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json
from mmjax.core.registry import Spec


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip.write_folder(tmp_path_factory.mktemp("clip"))


def by_formula(clip, pixels, names):
    """The softmax of scaled cosines in the joint space, by the whole model at once."""
    whole = mmjax.load_pretrained(clip)
    fields = whole.processor(text=[f"a photo of a {name}." for name in names])
    both = whole.module.apply(whole.variables, pixel_values=pixels, **fields, train=False)
    text, image = (np.float64(both.values[side]) for side in ("text", "vision"))
    powers = np.exp(np.float64(both.logit_scale) * (image @ text.T))
    return powers / powers.sum(axis=1, keepdims=True)


def test_names_meet_rows_in_the_folders_space(clip):
    pixels = np.random.default_rng(0).normal(size=(3, 12, 12, 3)).astype(np.float32)
    tower = mmjax.load_pretrained(clip, part="vision")
    pooled = tower.module.apply(tower.variables, pixel_values=pixels, train=False).pooled
    names = ["a", "b c", "t"]
    found = of_names(Tower("image", str(clip), "vision"), np.asarray(pooled), names)
    np.testing.assert_allclose(found, by_formula(clip, pixels, names), rtol=1e-4)


def test_it_is_said_why_there_is_none(clip):
    def run(**pretrained):
        config = types.SimpleNamespace(
            data=types.SimpleNamespace(
                modalities={"text": Spec("text"), "picture": Spec("image"), "other": Spec("image")}
            ),
            model=types.SimpleNamespace(
                pretrained=pretrained,
                encoders=dict.fromkeys(("text", "picture", "other"), Spec("vit")),
            ),
        )
        return types.SimpleNamespace(config=config)

    assert tower_of(run(picture=f"{clip}#vision")) == Tower("picture", str(clip), "vision")
    for pretrained in ({"text": f"{clip}#text"}, {"picture": "some/vit"}):
        with pytest.raises(ConfigError, match=r"is a vit\), so the names .*cannot be compared"):
            tower_of(run(**pretrained))


@pytest.mark.slow
def test_a_run_with_a_tower_is_told_beside_it(clip, tmp_path, monkeypatch, capsys):
    """Some tens of seconds: a run, its probe, and its names as prompts."""
    tiny_run.plain_figures(monkeypatch)
    monkeypatch.chdir(tmp_path)
    data = tiny_run.write_data(tmp_path)
    rows = tiny_run.read_rows(data)
    for row in rows:
        row["kind"] = {"bird": "a", "fish": "b", "stone": "t"}[row["kind"]]
    tiny_run.write_rows(data, rows)
    config = tiny_run.config(
        data,
        "train.duration=2 steps",
        "train.before_after=always",
        "train.ema_decay=0",
        "model.modality_dropout=0",
        "data.modalities.image.augment={}",
        "data.modalities.image.size=12",
    )
    encoders = {"text": config.model.encoders["text"]}
    model = dataclasses.replace(
        config.model, encoders=encoders, pretrained={"image": f"{clip}#vision"}
    )
    with tiny_run.one_device():
        run = mmjax.train(dataclasses.replace(config, model=model), tmp_path / "run")
        evaluation = run.evaluation(split="test")
        dataset = run.dataset(labels=True)
        batches = [
            one.inputs["image"]["pixel_values"][one.row_mask]
            for one in dataset.loader("test", train=False)
        ]
        names = list(run.module.task.label_names)
        wanted = by_formula(clip, np.concatenate(batches), names)
        kept = before_after.kept(run, evaluation)
    np.testing.assert_allclose(kept[ZERO_SHOT].predictions["probabilities"], wanted, atol=1e-4)
    told = read_json(tmp_path / "run" / "before_after.json")
    assert (list(told["models"]), told["left_out"]) == ([ZERO_SHOT, PROBE, "tuned"], {})
    right = wanted.argmax(axis=1) == evaluation.targets["label"]
    assert told["models"][ZERO_SHOT]["accuracy"] == pytest.approx(right.mean())
    assert "tuned minus pretrained, zero-shot: accuracy" in run.folder.report.read_text()
    # Without the folder it is said that it is not known, and why.
    told["left_out"] = {ZERO_SHOT: "the folder is gone"}
    monkeypatch.setattr(before_after, "told", lambda run: told)
    summary.finished(run)
    said = "not measured: pretrained, zero-shot, since the folder is gone"
    assert said in capsys.readouterr().out
