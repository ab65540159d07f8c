"""Batches of whole groups: each is whole, each epoch has every row once, on any number of hosts."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.pipeline import prepare
from mmjax.data.together import Together


@pytest.mark.parametrize(
    ("sizes", "batch_size"),
    [
        ([3] * 10, 12),
        ([1, 7, 2, 5, 7, 1, 1, 4, 3, 6, 2] * 9, 21),
        ([1] * 40 + [30], 100),  # all in one
        ([1] * 200 + [30], 90),
        ([5, 5, 5, 4, 1, 2], 11),  # two groups each
        ([9, 2, 9, 1], 9),  # one each
    ],
)
def test_groups_are_whole_and_epochs_complete(sizes, batch_size):
    rng = np.random.default_rng(len(sizes))
    groups = rng.permutation(np.repeat(rng.permutation(1000)[: len(sizes)], sizes))
    rows = rng.permutation(5000)[: len(groups)]
    of = dict(zip(rows.tolist(), groups.tolist(), strict=True))
    whole = Counter(of.values())
    order = Together(rows, groups, batch_size, seed=3)
    seen = []
    for epoch in range(4):
        batches = [order[epoch * order.batches + i] for i in range(order.batches)]
        kept = [batch[batch >= 0] for batch in batches]
        assert {len(batch) for batch in batches} == {batch_size}
        assert all(len(batch) for batch in kept)
        for batch in kept:
            assert all(whole[g] == n for g, n in Counter(of[r] for r in batch.tolist()).items())
        assert sorted(np.concatenate(kept)) == sorted(rows)
        seen.append(np.concatenate(batches).tolist())
    if order.batches > 1:
        assert seen[0] != seen[1]
    if batch_size > 10 * max(sizes):
        assert len(rows) > 0.8 * batch_size * order.batches
    again = pickle.loads(pickle.dumps(order))
    np.testing.assert_array_equal(again[5], order[5])
    assert len(order) > 10**6


def _config(path, **changes):
    target = Spec("relevance", column="right", also=("question",), together=True)
    return DataConfig(
        source=Spec("csv", path=str(path)),
        modalities={"n": Spec("table", numbers=("n",))},
        targets={"label": target},
        split=SplitConfig(group="question"),
        threads=0,
        **changes,
    )


def _write(path):
    lines = [f"{i // 3 if i < 60 else i // 5},{i % 2},{i}" for i in range(120)]
    path.write_text("\n".join(["question,right,n", *lines, ""]))


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_whole_groups_in_global_batches_of_any_hosts(tmp_path, hosts):
    _write(tmp_path / "a.csv")
    data = prepare(_config(tmp_path / "a.csv", batch_size=16))
    rows = data.rows("train")
    questions = np.array(data.table.column("question"), int)
    steps = data.steps_per_epoch("train")
    assert data.epoch_examples("train") == 16 * steps >= len(rows)
    loaders = [
        data.loader("train", train=True, process_index=i, process_count=hosts) for i in range(hosts)
    ]
    seen = []
    for _ in range(steps):
        parts = [next(loader) for loader in loaders]
        rowed = np.concatenate([part.row for part in parts])
        mask = np.concatenate([part.row_mask for part in parts])
        numbers = np.concatenate([part.targets["label"][:, 0] for part in parts])
        assert len(rowed) == 16
        for question in np.unique(questions[rowed[mask]]):
            mine = mask & (questions[rowed] == question)
            assert sorted(rowed[mine]) == sorted(rows[questions[rows] == question])
            assert len(np.unique(numbers[mine])) == 1
        seen.append(rowed[mask])
    assert sorted(np.concatenate(seen)) == sorted(rows)
    for loader in loaders:
        loader.close()


def test_evaluation_stays_in_order_and_large_groups_are_told(tmp_path):
    _write(tmp_path / "a.csv")
    data = prepare(_config(tmp_path / "a.csv", batch_size=4))
    with data.loader("test", train=False) as loader:
        found = np.concatenate([batch.row[batch.row_mask] for batch in loader])
    assert found.tolist() == data.rows("test").tolist()
    with pytest.raises(ConfigError, match=r"batch of 4 rows, and 8 .*data\.batch_size"):
        data.loader("train", train=True)
