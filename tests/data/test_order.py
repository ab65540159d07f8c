"""Orders of training rows: permutations without memory, and turns by weight."""

from __future__ import annotations

import dataclasses
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.data import order
from mmjax.data.order import Mixed, Shuffled, epoch_examples, permuted
from mmjax.data.table import Mixture, Part, Table
from mmjax.data.turns import Turns


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 1000, 4097])
def test_permuted_is_a_permutation(count):
    places = permuted(np.arange(count), count, "key")
    assert sorted(places) == list(range(count))
    # A part of the indices goes where it goes among all.
    some = np.arange(count)[::-3]
    assert np.array_equal(permuted(some, count, "key"), places[some])


def test_permuted_has_no_pattern():
    """Each of 24 orders comes equally often, and neighbours and places are not correlated."""
    seen = Counter(tuple(permuted(np.arange(4), 4, f"{i}").tolist()) for i in range(4800))
    assert len(seen) == 24
    expected = 4800 / 24
    assert sum((n - expected) ** 2 / expected for n in seen.values()) < 49.7  # p = 0.001, 23 df
    places = permuted(np.arange(50_000), 50_000, "another").astype(float)
    assert abs(np.corrcoef(places, np.arange(50_000))[0, 1]) < 0.02
    assert abs(np.corrcoef(places[1:], places[:-1])[0, 1]) < 0.02


def test_many_rows_are_shuffled_without_an_array_of_them(monkeypatch):
    rows = np.arange(100, 150)
    monkeypatch.setattr(order, "_SORTED", 10)
    endless = Shuffled(rows, 8, seed=3)
    found = np.concatenate([endless[k] for k in range(25)]).reshape(4, 50)
    assert (np.sort(found, axis=1) == rows).all()
    assert not (found[0] == found[1]).all()
    assert np.array_equal(Shuffled(rows, 8, seed=3)[7], endless[7])
    assert not np.array_equal(Shuffled(rows, 8, seed=4)[7], endless[7])


WEIGHTS = [(1, 1), (0.7, 0.3), (1, 2, 4), (0.5, 0.25, 0.2, 0.05), (3.14159, 2.71828), (1, 1e-3)]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_each_part_has_its_exact_share_before_any_turn(weights):
    turns = Turns.of(weights)
    parts, before = turns.at(np.arange(20_000))
    exact = [Fraction(str(weight)) for weight in weights]
    for i, weight in enumerate(exact):
        mine = parts == i
        had = np.concatenate([[0], np.cumsum(mine)])
        share = float(weight / sum(exact))
        assert np.abs(had - share * np.arange(20_001)).max() < len(weights)
        assert np.array_equal(before[mine], np.arange(mine.sum()))
        assert [turns.had(i, t) for t in (0, 1, 17, 9_999)] == [had[t] for t in (0, 1, 17, 9_999)]
        for count in (1, 5, int(mine.sum())):
            assert turns.until(i, count) == np.flatnonzero(mine)[count - 1] + 1
    # Any turn is known without those before it.
    late = 10**12 + np.arange(64)
    assert np.array_equal(turns.at(late)[0][32:], turns.at(late[32:])[0])


@pytest.mark.parametrize("weights", [(), (1, 0), (1, -1), (1, float("nan")), (float("inf"),)])
def test_weights_that_are_no_shares_are_refused(weights):
    with pytest.raises(ConfigError, match="MMX-106"):
        Turns.of(weights)


def _mixture(**changes) -> Table:
    tables = [
        Table(columns={"a": list(range(count))}, name=name, fingerprint=name, lines=range(count))
        for name, count in (("small", 10), ("large", 60))
    ]
    parts = (Part("small", 0, 10, 0.5, tables[0]), Part("large", 10, 70, 0.5, tables[1]))
    cells = [cell for table in tables for cell in table.column("a")]
    return Table(
        columns={"a": cells}, name="both", fingerprint="", mixture=Mixture(parts, **changes)
    )


def test_parts_take_turns_and_each_is_seen_whole_in_its_own_epochs():
    table = _mixture()
    batches = Mixed(table, np.arange(70), 7, seed=5)
    rows = np.concatenate([batches[k] for k in range(40)])
    small, large = rows[rows < 10], rows[rows >= 10]
    assert len(small) == len(large) == 140
    assert (np.sort(small.reshape(14, 10), axis=1) == np.arange(10)).all()
    assert (np.sort(large[:120].reshape(2, 60), axis=1) == np.arange(10, 70)).all()
    assert len({tuple(epoch) for epoch in small.reshape(14, 10).tolist()}) > 10
    again = Mixed(table, np.arange(70), 7, seed=5)
    assert np.array_equal(again[33], batches[33])
    assert not np.array_equal(Mixed(table, np.arange(70), 7, seed=6)[0], batches[0])


def test_an_epoch_ends_with_the_first_part_or_with_all():
    rows = np.arange(70)
    for epoch, part in (("first", "small"), ("all", "large")):
        table = _mixture(epoch=epoch)
        count = epoch_examples(table, rows)
        seen = Mixed(table, rows, 1, seed=0)
        taken = {int(seen[k][0]) for k in range(count)}
        wanted = set(range(10)) if part == "small" else set(rows.tolist())
        assert taken >= wanted
        assert not {int(seen[k][0]) for k in range(count - 1)} >= wanted
    assert epoch_examples(dataclasses.replace(table, mixture=None), rows) == 70


def test_a_part_without_rows_in_a_split_leaves_its_turns_to_the_others():
    rows = np.arange(10, 70)
    seen = Mixed(_mixture(), rows, 60, seed=0)[0]
    assert sorted(seen) == rows.tolist()
    assert epoch_examples(_mixture(), rows) == 60


def test_places_are_those_of_the_parts():
    table = _mixture()
    assert table.where(3, "a") == "small:3:a"
    assert table.where(10) == "large:0"
    assert table.where(69) == "large:59"
