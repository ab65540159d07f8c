"""The arithmetic and the tables of the benchmarks of tasks on real data."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from package_files import ROOT

from mmjax.data.spans import Span
from mmjax.data.table import Table

ABOUT = {
    "cores": 2,
    "cpu": "a cpu",
    "python": "3",
    "date": "today",
    "versions": {"jax": "1"},
}


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import emoji_tags, matrix_factorisation, movielens, ner_tweets

    return movielens, matrix_factorisation, ner_tweets, emoji_tags


def _table():
    """Of two kinds of users each has seen the own kind's items but for two."""
    columns = {name: [] for name in ("user", "item", "history", "split", "rating")}
    for user in range(12):
        own = [f"i{i}" for i in range(user % 2, 16, 2)]
        order = own[user // 2 :] + own[: user // 2]
        for place, item in enumerate(order):
            split = {6: "validation", 7: "test"}.get(place, "train")
            cells = (f"u{user}", item, order[:place], split, 3.0 + user % 2)
            for name, cell in zip(columns, cells, strict=True):
                columns[name].append(cell)
    return Table(columns, "t", "f")


def test_factors_find_what_is_left_of_the_own_kind(benchmarks):
    _, factors, *_ = benchmarks
    choices = factors.choices_of(_table(), [f"i{i}" for i in range(16)])
    assert choices.pairs.shape == (72, 2)
    assert choices.seen["test"].sum() == 12 * 7
    whole = choices.with_split("validation")
    assert len(whole.pairs) == 84
    found, epochs = factors.bpr(choices, width=4, penalty=1e-3, seed=0, epochs=60)
    assert 0 < epochs <= 60
    # Of nine items that are open, the first ten hold all; how high is what counts.
    assert found["test"]["mrr"] > 0.8
    last, _ = factors.bpr(whole, width=4, penalty=1e-3, seed=0, epochs=60, chosen=False)
    assert last["test"]["mrr"] > 0.9
    assert factors.bias_rmse(_table(), shrinkage=0.0)["test"] == pytest.approx(0, abs=1e-9)
    batches = factors.triples(choices.pairs, ~np.eye(12, 16, dtype=bool), np.random.default_rng(0))
    assert (batches[..., 0] == batches[..., 2]).all()


def test_the_loss_is_the_papers(benchmarks):
    _, factors, *_ = benchmarks
    rng = np.random.default_rng(0)
    params = {"users": rng.normal(size=(3, 2)), "items": rng.normal(size=(4, 2))}
    params["bias"] = rng.normal(size=4)
    batch = np.array([[0, 1, 2], [2, 3, 0]])
    expected = 0.0
    for user, item, other in batch:
        u, i, j = params["users"][user], params["items"][item], params["items"][other]
        margin = u @ i + params["bias"][item] - u @ j - params["bias"][other]
        expected += np.log1p(np.exp(-margin)) + 0.1 * (u @ u + i @ i + j @ j)
    found = factors.loss(jax.tree.map(np.float32, params), batch, 0.1)
    assert float(found) == pytest.approx(expected / 2, rel=1e-5)


def test_tags_of_words_and_a_dictionary_of_them(benchmarks):
    *_, tweets, _ = benchmarks
    texts = ["we saw New York", "new  york and Rome!", "York"]
    spans = [[Span(7, 15, "geo")], [Span(0, 9, "geo"), Span(14, 18, "geo")], [Span(0, 4, "geo")]]
    true = [tweets.tags(text, some) for text, some in zip(texts, spans, strict=True)]
    assert true == [["O", "O", "B-geo", "I-geo"], ["B-geo", "I-geo", "O", "B-geo"], ["B-geo"]]
    said = tweets.dictionary(texts, true, [0, 1])
    assert said == [*true[:2], ["I-geo"]]
    found = tweets.scores(true, said)
    assert found["default f1"] == 1.0
    assert found["strict recall"] == 0.75
    runs = [{"model": "a", "test": found, "validation": found}] * 2
    result = {**ABOUT, "rows": dict.fromkeys(("train", "validation", "test"), 3)}
    table = tweets.to_markdown({**result, "summary": tweets.summarise(runs)})
    assert "| a | 1.000 ± 0.000 | 1.000 ± 0.000 | 0.857 ± 0.000 |" in table


def test_tables(benchmarks):
    movielens, _, _, emoji_tags = benchmarks
    metrics = {"ndcg@10": 0.25, "hit_rate@10": 0.5, "mrr": 0.125}
    runs = [
        {"model": "x", "validation": metrics, "test": metrics, "processor seconds": s}
        for s in (1, 3)
    ]
    runs.append({"model": "y", "test": metrics, "processor seconds": None})
    tuning = [{"width": 8, "penalty": 0.01, "epochs": 3, "validation": metrics}]
    rmse = {"validation": 0.5, "test": 1.0}
    result = {**ABOUT, "tuning": tuning, "rmse of biases": rmse}
    table = movielens.to_markdown({**result, "summary": movielens.summarise(runs)})
    assert (
        "| x | 0.250 ± 0.000 | 0.250 ± 0.000 | 0.500 ± 0.000 | 0.125 ± 0.000 | 2 | 2 ± 1 |" in table
    )
    assert "| y |  | 0.250 | 0.500 | 0.125 | 1 |  |" in table
    one = {"map": 0.5, "micro_f1": 0.25}
    runs = [{"model": "z", "validation": one, "test": one}]
    table = emoji_tags.to_markdown({**ABOUT, "labels": 9, "summary": emoji_tags.summarise(runs)})
    assert "| z | 0.500 | 0.250 | 0.500 | 0.250 | 1 |" in table


def test_the_linear_model_is_chosen_on_validation(benchmarks, monkeypatch):
    *_, emoji_tags = benchmarks
    monkeypatch.setattr(emoji_tags, "STRENGTHS", (1.0, 10.0))
    monkeypatch.setattr(emoji_tags, "NGRAMS", ((1, 3),))
    names = [f"{('cat', 'dog', 'owl')[i % 3]} {i}" for i in range(60)]
    labels = np.array([[i % 3 == 0, i % 3 == 1] for i in range(60)])
    parts = np.split(np.arange(60), [36, 48])
    rows = dict(zip(("train", "validation", "test"), parts, strict=True))
    tried = emoji_tags.linear(names, labels, rows)
    assert len(tried) == 4
    assert tried[0]["test"]["map"] == 1.0
    assert tried[0]["validation"]["map"] == max(one["validation"]["map"] for one in tried)


def test_the_sequential_model_is_of_the_same_films(benchmarks):
    movielens, *_ = benchmarks
    from mmjax.core import config as config_lib

    config = config_lib.load(movielens.CONFIG)
    changed = config_lib.check(movielens.sequential(config))
    assert changed.data.targets == config.data.targets
    assert changed.data.split == config.data.split
    assert list(changed.model.encoders) == ["history"]
