"""Answer selection: both losses, metrics by question, and a run with pictures missing."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import tiny_run
from sklearn.metrics import label_ranking_average_precision_score, log_loss, ndcg_score

from mmjax.api.run import load_run
from mmjax.api.training import train
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.data.config import targets
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.metrics.selection import selection
from mmjax.tasks.answer_selection import AnswerSelection

GROUPS = np.array([7, 3, 7, 3, 7, 9, 9, 5])
GRADES = np.array([0, 1, 1, 0, 2, 1, 1, 1])
"""The candidates of 9 are all right; 5 is padding."""
TARGET = np.stack([GROUPS, GRADES], axis=1).astype(np.int32)
BATCH = Batch({}, {}, {"label": TARGET}, np.arange(8) < 7, np.arange(8))
LOGITS = np.random.default_rng(0).normal(size=(8, 1))


def _pointwise(logits):
    return log_loss(GRADES[:7] > 0, 1 / (1 + np.exp(-logits[:7, 0])))


def _listwise(logits):
    """Weighed by candidates: lists of 3 (7), 2 (3), and one of no account (9)."""
    total = 0.0
    for group in (7, 3):
        of = np.equal(GROUPS, group)
        shares = reference.softmax(logits[of, 0])
        total -= of.sum() * np.log(shares[GRADES[of] > 0].sum())
    return total / 7


@pytest.mark.parametrize(
    ("loss", "parts"),
    [("pointwise", [_pointwise]), ("listwise", [_listwise]), ("both", [_pointwise, _listwise])],
)
def test_losses_and_gradients(loss, parts):
    task = AnswerSelection(loss=loss)
    run = jax.value_and_grad(lambda x: task.output(x, BATCH).loss)
    value, grads = run(jnp.asarray(LOGITS, jnp.float32))

    def expected(logits):
        return sum(part(logits) for part in parts)

    assert float(value) == pytest.approx(expected(LOGITS), rel=1e-5)
    np.testing.assert_allclose(grads, reference.gradient(expected, LOGITS), atol=1e-5)


def test_lists_that_are_cut_are_refused():
    task = AnswerSelection(loss="both", together=False)
    with pytest.raises(ConfigError, match=r"data\.targets\.label\.together=true"):
        task.output(jnp.asarray(LOGITS), BATCH)


def test_metrics_are_those_of_each_question():
    rng = np.random.default_rng(1)
    sizes = [1, 2, 5, 4, 3, 6]
    groups = rng.permutation(np.repeat([10, -4, 3, 8, 99, 0], sizes))
    scores, grades = rng.normal(size=21), (rng.random(21) < 0.4).astype(int)
    grades[groups == 8] = 0
    kept = [g for g in np.unique(groups) if grades[groups == g].any()]
    found = selection(scores, grades, groups)
    of = [(scores[groups == g], grades[groups == g]) for g in kept]
    ranked = [truth[np.argsort(-score)] for score, truth in of]
    assert found["mrr"] == pytest.approx(np.mean([1 / (1 + np.argmax(r > 0)) for r in ranked]))
    assert found["precision@1"] == pytest.approx(np.mean([r[0] > 0 for r in ranked]))
    several = [label_ranking_average_precision_score([t], [s]) for s, t in of]
    assert found["map"] == pytest.approx(np.mean(several))
    for score, truth in of:
        if len(score) > 1:
            own = selection(score, truth, np.zeros(len(score), int))
            assert own["ndcg@3"] == pytest.approx(ndcg_score([truth], [score], k=3))
    assert found["queries"] == len(kept)
    assert found["left_out"] == 6 - len(kept)


def test_ties_and_edges():
    assert selection([1.0, 1.0, 1.0], [0, 1, 0], [4, 4, 4])["mrr"] == 0.5
    assert np.isnan(selection([1.0, 2.0], [0, 0], [1, 2])["map"])
    with pytest.raises(DataError, match="MMX-540"):
        selection([], [], [])
    with pytest.raises(DataError, match="MMX-540"):
        selection([1.0], [1, 0], [0])


def test_grades_and_questions_as_targets(tmp_path):
    table = Table({"right": [True, 0, "2"], "of": ["a", "b", "a"]}, "m.csv", "f")
    target = targets.build("relevance", column="right", also=("of",))
    fitted = target.fit(table, np.arange(3))
    fitted.save(tmp_path)
    fitted = target.load(tmp_path)
    cells = list(zip(table.column("right"), table.column("of"), strict=True))
    batch = fitted.collate([*(fitted.encode(list(c), Place(table, 0)) for c in cells), None])
    assert batch[:, 1].tolist() == [1, 0, 2, 0]
    assert batch[0, 0] == batch[2, 0] != batch[1, 0]
    for cell, code in ((None, 530), (-1, 531), (0.5, 531), ("yes", 531)):
        with pytest.raises(DataError, match=f"MMX-{code}"):
            target.check([cell, "a"], Place(table, 0))
    with pytest.raises(DataError, match="MMX-530"):
        target.check([1, None], Place(table, 0))


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    rows = tiny_run.rows_of(24)
    path = tiny_run.write_data(tmp_path, 24)
    written = tiny_run.read_rows(path)
    for i, (row, made) in enumerate(zip(written, rows, strict=True)):
        row["picture"] = "" if i % 5 == 0 else row["picture"]
        row["place"] = f"question {i // 3}"
        row["kind"] = str(int(made["kind"] == "bird"))
    tiny_run.write_rows(path, written)
    config = tiny_run.config(
        path, "train.duration=2 steps", "train.evaluate_every=2 steps", "train.best_metric=mrr"
    )
    target = Spec("relevance", column="kind", also=("place",), together=True)
    split = dataclasses.replace(config.data.split, group="place", fractions=(0.5, 0.25, 0.25))
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, targets={"label": target}, split=split),
        task=Spec("answer_selection", loss="both"),
    )
    parts = dataclasses.replace(config.train, gradient_accumulation_steps=2)
    with tiny_run.one_device():
        with pytest.raises(ConfigError, match=r"MMX-109.*gradient_accumulation_steps=1"):
            train(dataclasses.replace(config, train=parts), tmp_path / "cut")
        assert not (tmp_path / "cut").exists()
        train(config, tmp_path / "run")
        run = load_run(tmp_path / "run")
        found = run.evaluate()
        one = run.predict_one(text="wing feather")
        predictions = run.predict(split="test")
    assert found["queries"] == 2
    assert 0 < one["probability"] < 1
    best: dict[str, tuple[float, bool]] = {}
    for answer in predictions:
        row = written[answer["row"]]
        best[row["place"]] = max(
            best.get(row["place"], (-1e9, False)), (answer["score"], row["kind"] == "1")
        )
    assert found["precision@1"] == pytest.approx(np.mean([right for _, right in best.values()]))
    assert (tmp_path / "run" / "report.html").is_file()
