"""The short forms of tasks, by the names of transformers' pipelines."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import tiny_clip
import tiny_run

import mmjax
from mmjax import tasks
from mmjax.api import pipeline_forms as forms
from mmjax.core.errors import ConfigError, DataError


def test_forms_are_of_tasks_that_there_are():
    known = set(tasks.registry)
    assert set(forms.ALIASES.values()) <= set(forms.FORMS)
    served = {task for form in forms.FORMS.values() for task in form.tasks}
    assert served >= known, "a task without a short form"


@pytest.fixture(scope="module")
def classify(trained):
    return mmjax.pipeline("multimodal-classification", model=trained)


def test_answers_are_those_of_the_run(classify, trained):
    rows = tiny_run.rows_of(4)
    expected = [one["probabilities"] for one in mmjax.load_run(trained).predict(_frame(rows))]
    inputs = [{"text": row["words"], "image": PIL.Image.fromarray(row["picture"])} for row in rows]
    found = classify(inputs)
    for one, truth in zip(found, expected, strict=True):
        scores = [answer["score"] for answer in one]
        assert scores == sorted(scores, reverse=True)
        got = {answer["label"]: answer["score"] for answer in one}
        assert got.keys() == truth.keys()
        np.testing.assert_allclose([got[k] for k in truth], list(truth.values()), atol=1e-6)
    # One alone, by column and with another form of the same picture, is the same one.
    alone = classify(words=rows[2]["words"], picture=rows[2]["picture"], top_k=1)
    assert [alone[0]["label"]] == [found[2][0]["label"]]
    assert alone[0]["score"] == pytest.approx(found[2][0]["score"], abs=1e-6)


def _frame(rows):
    return {
        "id": [row["id"] for row in rows],
        "words": [row["words"] for row in rows],
        "picture": [row["picture"] for row in rows],
    }


def test_lists_by_name_and_inputs_without_one(trained):
    of_text = mmjax.pipeline("text-classification", model=trained, top_k=2)
    words = ["wing nest", "fin water", "rock"]
    found = of_text(words)
    assert [len(one) for one in found] == [2, 2, 2]
    by_name = of_text(text=words)
    assert by_name == found
    assert of_text(words[1])[0]["label"] == found[1][0]["label"]
    assert len(of_text("rock", top_k=None)) == 3
    assert of_text([]) == []


def test_the_runs_own_form(trained):
    assert mmjax.pipeline(model=trained).name == "multimodal-classification"
    assert mmjax.pipeline("sentiment-analysis", model=trained).name == "text-classification"


def test_vectors_of_a_run(trained):
    vectors = mmjax.pipeline("feature-extraction", model=trained)(["rock", "fin"])
    run = mmjax.load_run(trained)
    truth = run.embed({"id": ["0", "1"], "words": ["rock", "fin"], "picture": [None, None]})
    np.testing.assert_allclose(vectors, truth["fused"], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("text-clasification", {}, "did you mean 'text-classification'"),
        ("question-answering", {}, "the run's is classification"),
        ("text-classification", {"topk": 1}, "did you mean 'top_k'"),
    ],
)
def test_what_does_not_fit_is_named(trained, name, options, said):
    with pytest.raises(ConfigError, match=said):
        mmjax.pipeline(name, model=trained, **options)


def test_inputs_that_do_not_fit_are_named(trained, classify):
    with pytest.raises(DataError, match="needs to know what its input is"):
        classify("rock")
    with pytest.raises(DataError, match="reads nothing of kind audio for 'audio'"):
        mmjax.pipeline("audio-classification", model=trained)("a.wav")
    with pytest.raises(DataError, match="unequal length"):
        classify(text=["a", "b"], image=[None])
    with pytest.raises(DataError, match="cannot be read"):
        mmjax.pipeline("image-classification", model=trained)("nowhere.png")
    with pytest.raises(ConfigError, match="needs a trained run"):
        mmjax.pipeline("text-classification", model="some/bert")


def test_forms_of_decoded_rows():
    span = {"start": 0, "end": 4, "label": "LOC", "text": "Rome", "score": 0.75}
    expected = {"entity_group": "LOC", "score": 0.75, "word": "Rome", "start": 0, "end": 4}
    assert forms.spans({"spans": [span]}) == [expected]
    assert forms.spans({"spans": [span]}, threshold=0.8) == []
    one = {"answer": "Rome", "start": 0, "end": 4, "probability": 0.5}
    two = {"answer": "Oslo", "start": 9, "end": 13, "probability": 0.25}
    row = {**one, "answers": [one, two]}
    assert forms.answer_span(row) == {"score": 0.5, "start": 0, "end": 4, "answer": "Rome"}
    assert [a["answer"] for a in forms.answer_span(row, top_k=2)] == ["Rome", "Oslo"]
    assert forms.answers(row, top_k=1) == [{"score": 0.5, "answer": "Rome"}]
    box = {"box": [0.0, 0.25, 0.5, 1.0], "label": "disc", "score": 0.5}
    (found,) = forms.boxes({"boxes": [box]}, threshold=0.5)
    assert found["box"] == {"xmin": 0.0, "ymin": 0.25, "xmax": 0.5, "ymax": 1.0}
    assert forms.boxes({"boxes": [box]}, threshold=0.6) == []
    said = {"text": "ein Apfel", "score": -0.5}
    assert forms.answers(said) == [{"score": -0.5, "answer": "ein Apfel"}]
    assert forms.FORMS["translation"].answer(said) == [{"translation_text": "ein Apfel"}]
    top = forms.items({"items": ["a", "b"], "scores": [2.0, 1.0]}, top_k=1)
    assert top == [{"item": "a", "score": 2.0}]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip.write_folder(tmp_path_factory.mktemp("clip"))


@pytest.mark.slow
def test_classes_in_words_by_a_folder(clip, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "a.png")
    labels = ["a", "b", "c d"]
    pipe = mmjax.pipeline("zero-shot-image-classification", model=clip, candidate_labels=labels)
    found = pipe(tmp_path / "a.png", hypothesis_template="e {}")
    encoder = mmjax.load_pretrained(clip)
    fields = encoder.processor(text=["e a", "e b", "e c d"], images=picture)
    both = encoder.module.apply(encoder.variables, **fields, train=False)
    text, image = both.values["text"], both.values["vision"]
    logits = np.asarray(both.logit_scale * (text @ image[0]), np.float64)
    truth = dict(zip(labels, np.exp(logits) / np.exp(logits).sum(), strict=True))
    assert np.ptp(logits) > 0.01
    assert [one["label"] for one in found] == sorted(truth, key=truth.get, reverse=True)
    np.testing.assert_allclose(
        [one["score"] for one in found], sorted(truth.values(), reverse=True), rtol=1e-4
    )
    assert len(pipe(picture, top_k=1)) == 1
    with pytest.raises(ConfigError, match="candidate_labels"):
        mmjax.pipeline("zero-shot-image-classification", model=clip)(picture)


def test_features_of_a_folder(clip):
    encoder = mmjax.load_pretrained(clip)
    fields = encoder.processor(text="a b")
    truth = encoder.module.apply(encoder.variables, **fields, train=False).values["text"]
    np.testing.assert_allclose(
        mmjax.pipeline("feature-extraction", model=clip)("a b"), truth, atol=1e-6
    )
