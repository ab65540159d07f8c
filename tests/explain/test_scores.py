"""What is explained of each kind of output, against NumPy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch
from mmjax.explain import scores
from mmjax.explain.scores.base import Seen
from mmjax.objectives.results import Results
from mmjax.tasks.anomaly import Anomaly
from mmjax.tasks.classification import Classification
from mmjax.tasks.detection import Detection
from mmjax.tasks.multi_label import MultiLabel
from mmjax.tasks.recommendation import Recommendation
from mmjax.tasks.several import Several
from mmjax.tasks.summarization import Summarization
from mmjax.tasks.time_tagging import TimeTagging
from mmjax.tasks.token_classification import TokenClassification

RNG = np.random.default_rng(0)
ROWS = 3
BATCH = Batch({}, {}, {}, np.ones(ROWS, bool), np.arange(ROWS))


def explained(task, outputs, predictions=None, *, batch=BATCH, of=None, scale="score"):
    """The kind, what it chose, and the numbers of that."""
    seen = Seen(task, outputs, predictions or {}, batch)
    kind = scores.of(task)
    choice = kind.choose(seen, of)
    return kind, choice, np.asarray(kind.score(seen, choice, scale))


def log_odds(logits):
    """Of each of the last axis against the others."""
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return np.log(shares / (1 - shares))


def test_of_classes_the_log_odds_against_the_others_of_labels_the_logit():
    logits = RNG.normal(size=(ROWS, 4))
    task = Classification(num_labels=4, label_names=tuple("abcd"))
    kind, choice, found = explained(task, logits)
    np.testing.assert_allclose(found, log_odds(logits).max(axis=1), rtol=1e-5)
    assert kind.told(task, choice, [{}] * ROWS) == [
        f"log-odds of {'abcd'[i]}" for i in logits.argmax(axis=1)
    ]
    _, _, found = explained(task, logits, of="c", scale="probability")
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, shares[:, 2], rtol=1e-5)
    labels = MultiLabel(num_labels=4, label_names=tuple("abcd"))
    np.testing.assert_allclose(explained(labels, logits, of=1)[2], logits[:, 1], rtol=1e-5)
    with pytest.raises(ConfigError, match="nothing called 'e'"):
        explained(task, logits, of="e")


def test_log_odds_where_one_class_is_certain_and_where_there_is_but_one():
    """A logit may fall while its class gets likelier; log-odds rise, and do not saturate."""
    task = Classification(num_labels=3, label_names=tuple("abc"))
    before, after = np.array([-5.0, 0.0, -20.0]), np.array([-7.0, -60.0, -90.0])
    _, _, found = explained(task, np.stack([before, after, after * 5]), of="a")
    np.testing.assert_allclose(found, [-5.0, 53.0, 265.0], rtol=1e-6)
    alone = Classification(num_labels=1, label_names=("a",))
    assert explained(alone, np.array([[3.0], [-2.0]]))[2].tolist() == [0, 0]


def test_of_boxes_the_label_of_the_surest():
    logits = RNG.normal(size=(2, ROWS, 5, 3))
    task = Detection(box_names=("cat", "dog"))
    kind, choice, found = explained(task, {"logits": logits})
    shares = np.exp(logits[-1]) / np.exp(logits[-1]).sum(axis=-1, keepdims=True)
    for row in range(ROWS):
        query, label = np.unravel_index(shares[row, :, :2].argmax(), (5, 2))
        own = logits[-1, row, query]
        assert found[row] == pytest.approx(log_odds(own)[label], rel=1e-5)
        said = kind.told(task, choice, [])[row]
        assert said == f"log-odds of the surest {('cat', 'dog')[label]}"
    _, choice, _ = explained(task, {"logits": logits}, of="dog")
    np.testing.assert_array_equal(choice["query"], shares[..., 1].argmax(axis=1))


def test_of_items_the_first_above_the_catalogue():
    users, vectors, bias = (RNG.normal(size=shape) for shape in ((ROWS, 2), (6, 2), (6,)))
    task = Recommendation(num_items=6, item_names=tuple("abcdef"))
    whole = users @ vectors.T + bias
    first = whole.argsort(axis=1)[:, ::-1]
    kind, choice, found = explained(task, (users, vectors, bias), {"items": first})
    np.testing.assert_allclose(found, whole.max(axis=1) - whole.mean(axis=1), rtol=1e-4)
    assert kind.says(task, choice[0]) == "abcdef"[first[0, 0]]
    _, _, found = explained(task, (users, vectors, bias), {"items": first}, of="b")
    np.testing.assert_allclose(found, whole[:, 1] - whole.mean(axis=1), rtol=1e-4, atol=1e-6)


def test_of_tags_those_of_words_that_have_a_name():
    logits = RNG.normal(size=(ROWS, 4, 3))
    logits[..., 0] = 5  # nothing anywhere
    logits[0, 2] = [0, 7, 1]
    mask = np.ones((ROWS, 4), bool)
    mask[1, 2:] = False
    offsets = np.stack([np.arange(4) * 2, np.arange(4) * 2 + 1], axis=-1)
    offsets = np.where(mask[..., None], offsets, 0)
    batch = Batch({"text": {"offsets": offsets}}, {}, {}, np.ones(ROWS, bool), np.arange(ROWS))
    task = TokenClassification(span_names=("person",))
    outputs = {"logits": jnp.asarray(logits), "mask": jnp.asarray(mask)}
    kind, choice, found = explained(task, outputs, batch=batch)
    odds = log_odds(logits)
    # One word has a name; in the other rows all that are there say nothing.
    assert found[0] == pytest.approx(odds[0, 2, 1], rel=1e-5)
    assert found[1] == pytest.approx(odds[1, :2, 0].mean(), rel=1e-5)
    told = kind.told(task, choice, [{}] * ROWS)
    assert told[:2] == ["log-odds of person in 1 words", "log-odds of nothing in all words"]
    _, choice, found = explained(task, outputs, batch=batch, of="person")
    nearest = logits[1, :2, 1:].max(axis=-1).argmax()
    assert found[1] == pytest.approx(odds[1, nearest, 1:].max(), rel=1e-5)
    steps = TimeTagging(segment_names=("go",), labels="several")
    _, _, found = explained(steps, {**outputs, "logits": outputs["logits"][..., 1:2]})
    assert found[0] == pytest.approx(logits[0, :, 1][logits[0, :, 1] > 0].mean(), rel=1e-5)


def test_of_anomalies_the_standardised_score():
    raw = {"score/fused": RNG.random(ROWS), "score/text": np.array([1.0, np.nan, 3.0])}
    facts = {"score_means": {"fused": 0.5, "text": 1.0}, "score_deviations": {"text": 2.0}}
    for combine, expected in (("mean", np.nanmean), ("max", np.nanmax)):
        task = Anomaly(combine=combine, **facts)
        each = np.stack([raw["score/fused"] - 0.5, (raw["score/text"] - 1) / 2], axis=1)
        np.testing.assert_allclose(explained(task, None, raw)[2], expected(each, 1), rtol=1e-5)
    found = explained(task, None, raw, of="text")[2]
    np.testing.assert_allclose(found[[0, 2]], [1, 3])


def test_of_a_joint_space_the_mean_cosine_of_pairs():
    vectors = {n: RNG.normal(size=(ROWS, 4)) for n in ("text", "image", "audio")}
    unit = {n: v / np.linalg.norm(v, axis=1, keepdims=True) for n, v in vectors.items()}
    unit["audio"][1] = 0
    _, _, found = explained(Results(("clip",), tuple(unit)), unit)
    own = [unit[n] for n in unit]
    pairs = [(own[i] * own[j]).sum(axis=1) for i in range(3) for j in range(i)]
    assert found[0] == pytest.approx(np.mean([one[0] for one in pairs]), rel=1e-5)
    assert found[1] == pytest.approx(pairs[0][1], rel=1e-5)


def test_of_several_tasks_one_is_explained():
    parts = {"said": Summarization(), "kind": Classification(num_labels=2, label_names=("a", "b"))}
    task = Several(parts=parts)
    assert scores.part_of(task, None)[::2] == ("kind", None)
    assert scores.part_of(task, "kind=b")[::2] == ("kind", "b")
    with pytest.raises(ConfigError, match="kind"):
        scores.part_of(task, "kin")
    with pytest.raises(ConfigError, match="all of several tasks write texts"):
        scores.part_of(Several(parts={"said": Summarization()}), None)
    with pytest.raises(ConfigError, match="Results gives no number"):
        scores.of(Results(("mlm",), ()))
