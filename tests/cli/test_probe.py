"""`mmjax probe`, `Run.probe` and `Run.zero_shot` of a tiny run."""

import json

import numpy as np
import pytest
import tiny_run
from scipy.special import softmax
from sklearn.preprocessing import normalize

from mmjax.api.probing import knn_probe
from mmjax.api.run import Run
from mmjax.api.zero_shot import prompt_embeddings, zero_shot
from mmjax.cli import main
from mmjax.core.errors import ConfigError, DataError

NAMES = ("wing", "fin", "rock")
TEMPLATES = ("a small {}", "an old {}.")


@pytest.fixture(scope="module")
def run(trained):
    return Run(trained)


def told(capsys, *arguments, code=0):
    capsys.readouterr()
    assert main([*map(str, arguments)]) == code
    out, err = capsys.readouterr()
    return err.splitlines()[-1] if code else out


def test_a_probe_learns_on_train_and_is_measured_on_test(run, trained, capsys):
    found = run.probe("kind", kind="knn", space="image", k=3)
    rows = tiny_run.read_rows(trained.parent / "data.csv")
    label = {row["id"]: row["kind"] for row in rows}
    parts = []
    for split in ("train", "test"):
        vectors = run.embed(split=split)
        parts += [vectors["image"], [label[one] for one in vectors["ids"]]]
    assert found == knn_probe(*parts, k=3)
    shown = json.loads(told(capsys, "probe", trained, "--label", "place", "--json"))
    assert shown["accuracy"] > 0.5
    assert shown["l2"] in [10.0**power for power in range(-6, 1)]
    assert "recall/land" in shown
    table = told(capsys, "probe", trained, "--label", "kind", "--kind", "knn")
    assert "accuracy" in table
    assert "kind, test rows" in table


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--label", "kinds"), "MMX-214: no column 'kinds'"),
        (("--label", "kind", "--space", "picture"), "MMX-109: no embeddings 'picture'"),
    ],
)
def test_a_bad_probe_is_one_line(trained, capsys, arguments, line):
    assert line in told(capsys, "probe", trained, *arguments, code=2)


def test_data_without_splits_cannot_be_probed(trained, capsys, tmp_path):
    data = tiny_run.write_data(tmp_path, 5)
    line = told(capsys, "probe", trained, "--label", "kind", "--data", data, code=2)
    assert "MMX-222: no split 'train'" in line


def test_prompts_are_averaged_over_templates(run):
    found = prompt_embeddings(run, NAMES, TEMPLATES)
    prompts = [one.format(name) for name in NAMES for one in TEMPLATES]
    table = {"id": list("012345"), "words": prompts, "picture": [None] * 6}
    vectors = normalize(run.embed(table)["text"]).reshape(3, 2, -1)
    np.testing.assert_allclose(found, normalize(vectors.mean(axis=1)), atol=1e-6)


def test_rows_are_told_apart_by_words(run, tmp_path):
    data = tiny_run.write_data(tmp_path, 7)
    found = run.zero_shot(data, names=NAMES, templates=TEMPLATES, logit_scale=20.0)
    pictures = normalize(run.embed(data)["image"])
    want = softmax(20 * pictures @ prompt_embeddings(run, NAMES, TEMPLATES).T, axis=1)
    np.testing.assert_allclose([list(o["probabilities"].values()) for o in found], want, atol=1e-5)
    assert [one["label"] for one in found] == [NAMES[i] for i in want.argmax(axis=1)]
    assert [one["id"] for one in found] == [row["id"] for row in tiny_run.read_rows(data)]
    texts = {"words": ["wing", None], "picture": [None, np.zeros((8, 8, 3), np.uint8)]}
    only = run.zero_shot({**texts, "id": ["a", "b"]}, names=NAMES)
    assert [one["id"] for one in only] == ["b"]


def test_zero_shot_is_measured_on_the_names_of_a_column(run, trained, capsys):
    given = ("--label", "kind", "--kind", "zero-shot", "--json")
    templates = [part for one in TEMPLATES for part in ("--template", one)]
    found = json.loads(told(capsys, "probe", trained, *given, *templates))
    rows = tiny_run.read_rows(trained.parent / "data.csv")
    label = {row["id"]: row["kind"] for row in rows}
    answers = run.zero_shot(split="test", names=tiny_run.LABELS, templates=TEMPLATES)
    right = [one["label"] == label[one["id"]] for one in answers]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert {f"recall/{name}" for name in tiny_run.LABELS} <= set(found)
    line = told(capsys, "probe", trained, "--label", "kind", "--template", "a {}", code=2)
    assert "MMX-105: --template with --kind linear" in line


def test_pictures_are_predicted_by_names(run, trained, capsys, tmp_path):
    data = tiny_run.write_data(tmp_path, 4)
    names = [part for one in NAMES for part in ("--name", one)]
    out = tmp_path / "classes.jsonl"
    given = ("predict", trained, "--data", data, "--out", out, *names, "--template", TEMPLATES[0])
    told(capsys, *given)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert found == run.zero_shot(data, names=NAMES, templates=TEMPLATES[:1])
    picture = data.parent / tiny_run.read_rows(data)[2]["picture"]
    one = json.loads(told(capsys, "predict", trained, "--image", picture, *names))
    assert one["label"] in NAMES
    assert set(one["probabilities"]) == set(NAMES)
    line = told(capsys, "predict", trained, "--text", "wing", *names, code=2)
    assert "MMX-564: the example has nothing to classify" in line
    line = told(capsys, "predict", trained, "--text", "wing", "--template", "a {}", code=2)
    assert "MMX-105: --template without --name" in line


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"names": ("a", "a")}, "MMX-106: 2 names, 1 different"),
        ({"names": ()}, "MMX-106: 0 names"),
        ({"names": NAMES, "templates": ("a photo",)}, "MMX-106: template 'a photo'"),
        ({"names": NAMES, "templates": ()}, "MMX-106: no templates"),
        ({"names": NAMES, "text": "texts"}, "MMX-109: no modality 'texts'"),
        ({"names": NAMES, "modality": "sound"}, "MMX-109: no modality 'sound'"),
    ],
)
def test_a_bad_zero_shot_question_is_refused(run, options, line):
    with pytest.raises(ConfigError) as error:
        run.zero_shot(**options)
    assert line in str(error.value)


def test_vectors_of_unequal_width_are_refused():
    with pytest.raises(DataError, match="MMX-562"):
        zero_shot(np.ones((2, 3)), np.ones((2, 4)))
