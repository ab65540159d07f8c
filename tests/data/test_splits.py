import json
import logging

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import SplitConfig
from mmjax.data.manifest import read
from mmjax.data.splits import load, make_splits, save, thinned

FRACTIONS = (0.8, 0.1, 0.1)


def table_of(counts, seed=0, **columns):
    """A table with `counts[label]` rows of each label, in random order."""
    labels = np.repeat(list(counts), list(counts.values()))
    return read({"label": np.random.default_rng(seed).permutation(labels).tolist(), **columns})


def same(ours, theirs):
    return list(ours) == list(theirs) and all(np.array_equal(ours[k], theirs[k]) for k in ours)


def assert_partition(splits, rows):
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(rows))
    for found in splits.values():
        assert (np.diff(found) > 0).all()


class TestMade:
    @pytest.mark.parametrize("fractions", [FRACTIONS, (0.5, 0.25, 0.25), (0.34, 0.33, 0.33)])
    @pytest.mark.parametrize("seed", range(5))
    def test_every_class_is_within_one_row_of_its_share(self, fractions, seed):
        random = np.random.default_rng(seed)
        counts = {f"c{i}": int(n) for i, n in enumerate(random.integers(2, 60, 25))}
        table = table_of(counts, seed)
        splits = make_splits(table, SplitConfig(fractions=fractions, seed=seed), "label")
        assert_partition(splits, len(table))
        labels = np.array(table.column("label"))
        for fraction, rows in zip(fractions, splits.values(), strict=True):
            for label, count in counts.items():
                assert abs((labels[rows] == label).sum() - count * fraction) < 1
            assert abs(len(rows) - len(table) * fraction) <= 2

    def test_small_classes_fill_every_split_to_its_size(self):
        table = table_of({f"c{i}": 4 for i in range(100)})
        sizes = {k: len(v) for k, v in make_splits(table, SplitConfig(), "label").items()}
        assert sizes == {"train": 320, "validation": 40, "test": 40}

    def test_without_labels_the_sizes_are_the_fractions(self):
        table = read({"a": list(range(100))})
        splits = make_splits(table, SplitConfig())
        assert {k: len(v) for k, v in splits.items()} == {
            "train": 80,
            "validation": 10,
            "test": 10,
        }
        assert_partition(splits, 100)

    def test_a_split_without_a_fraction_is_not_made(self):
        splits = make_splits(read({"a": [*range(10)]}), SplitConfig(fractions=(0.8, 0.2, 0.0)))
        assert {k: len(v) for k, v in splits.items()} == {"train": 8, "validation": 2}

    def test_the_seed_alone_decides(self):
        counts = {"a": 50, "b": 30}
        table, wider = table_of(counts), table_of(counts, other=list(range(80)))
        first = make_splits(table, SplitConfig(), "label")
        assert same(first, make_splits(table, SplitConfig(), "label"))
        assert same(first, make_splits(wider, SplitConfig(stratify="label"), None))
        assert not same(first, make_splits(table, SplitConfig(seed=1), "label"))

    def test_the_split_of_a_seed_is_the_same_for_ever(self):
        splits = make_splits(read({"a": list(range(20))}), SplitConfig(fractions=(0.5, 0.25, 0.25)))
        assert {k: v.tolist() for k, v in splits.items()} == {
            "train": [0, 2, 5, 6, 8, 14, 15, 16, 17, 19],
            "validation": [1, 4, 7, 10, 18],
            "test": [3, 9, 11, 12, 13],
        }

    def test_shuffled_rows_are_spread_evenly(self):
        table = read({"a": list(range(10_000))})
        test = make_splits(table, SplitConfig())["test"]
        in_tenths = np.histogram(test, bins=10, range=(0, 10_000))[0]
        # A hypergeometric count of mean 100 and standard deviation 9: five deviations.
        assert np.abs(in_tenths - 100).max() < 45

    def test_a_class_of_one_row_is_in_training_and_named(self, caplog):
        table = table_of({"a": 30, "b": 30, "single": 1, "alone": 1})
        for seed in range(5):
            splits = make_splits(table, SplitConfig(seed=seed), "label")
            train = {table.column("label")[i] for i in splits["train"]}
            assert {"single", "alone"} <= train
            assert_partition(splits, 62)
        assert "2 classes of 'label' have one row only: 'alone', 'single'" in caplog.text
        assert caplog.records[0].levelno == logging.WARNING
        with pytest.raises(DataError, match=r"'alone', 'single'.*on_rare_class") as caught:
            make_splits(table, SplitConfig(on_rare_class="raise"), "label")
        assert caught.value.code == 220

    def test_missing_labels_are_a_class_of_their_own(self):
        table = read({"label": [None, "a"] * 20})
        splits = make_splits(table, SplitConfig(fractions=(0.5, 0.25, 0.25)), "label")
        labels = np.array(table.column("label")) == "a"
        assert [labels[rows].sum() for rows in splits.values()] == [10, 5, 5]

    @pytest.mark.parametrize("fractions", [(0.5, 0.1, 0.1), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5)])
    def test_fractions_that_are_none(self, fractions):
        with pytest.raises(ConfigError, match="add up to 1"):
            make_splits(read({"a": [*range(10)]}), SplitConfig(fractions=fractions))

    def test_too_few_rows_for_a_split(self):
        with pytest.raises(DataError, match=r"'test' is empty.*5 rows are too few") as caught:
            make_splits(read({"a": [*range(5)]}), SplitConfig())
        assert caught.value.code == 222


class TestGrouped:
    @pytest.mark.parametrize("stratify", [None, "label"])
    @pytest.mark.parametrize("seed", range(5))
    def test_groups_stay_together_and_shares_are_near(self, stratify, seed):
        random = np.random.default_rng(seed)
        group = random.choice(120, 1500, p=random.dirichlet(np.ones(120)))
        label = random.choice(["a", "b", "c"], 1500, p=[0.7, 0.2, 0.1])
        table = read({"group": group, "label": label})
        config = SplitConfig(group="group", stratify=stratify, seed=seed)
        splits = make_splits(table, config)
        assert_partition(splits, 1500)
        groups = [set(group[rows]) for rows in splits.values()]
        assert sum(map(len, groups)) == len(set(group))
        for fraction, rows in zip(FRACTIONS, splits.values(), strict=True):
            assert abs(len(rows) / 1500 - fraction) < 0.03
            if stratify:
                for name in "abc":
                    share = (label[rows] == name).sum() / (label == name).sum()
                    assert abs(share - fraction) < 0.08

    def test_small_splits_get_large_groups_too(self):
        group = [i for i in range(100) for _ in range(20 if i < 50 else 1)]
        table = read({"group": group})
        splits = make_splits(table, SplitConfig(group="group"))
        for rows in splits.values():
            assert len({group[i] for i in rows} & set(range(50))) >= 4

    def test_as_many_groups_as_splits(self):
        table = read({"patient": ["p"] * 10 + ["q"] * 10 + ["r"] * 10})
        splits = make_splits(table, SplitConfig(group="patient"))
        assert [len(rows) for rows in splits.values()] == [10, 10, 10]

    def test_too_few_groups(self):
        table = read({"patient": ["p"] * 10 + ["q"] * 10})
        with pytest.raises(DataError, match="'test' is empty"):
            make_splits(table, SplitConfig(group="patient"))

    def test_rows_without_a_group_are_on_their_own(self):
        table = read({"patient": [None] * 100})
        sizes = [len(rows) for rows in make_splits(table, SplitConfig(group="patient")).values()]
        assert sizes == [80, 10, 10]

    def test_the_order_of_the_values_does_not_matter(self):
        group = np.random.default_rng(0).integers(0, 30, 300).tolist()
        table = read({"group": group})
        config = SplitConfig(group="group", seed=3)
        assert same(make_splits(table, config), make_splits(read({"group": group}), config))
        assert not same(
            make_splits(table, config), make_splits(table, SplitConfig(group="group", seed=4))
        )


class TestByColumn:
    def test_names_are_mapped(self):
        cells = ["train", "Dev", "test", "TRAINING ", "val"]
        splits = make_splits(read({"split": cells}), SplitConfig(column="split"))
        assert {k: v.tolist() for k, v in splits.items()} == {
            "train": [0, 3],
            "validation": [1, 4],
            "test": [2],
        }

    def test_folds_are_names_too(self):
        names = {"train": ("0", "1"), "validation": ("2",), "test": ("3",)}
        config = SplitConfig(column="fold", names=names)
        splits = make_splits(read({"fold": [0, 1.0, "2", 3]}), config)
        assert [v.tolist() for v in splits.values()] == [[0, 1], [2], [3]]

    @pytest.mark.parametrize("cell", ["tset", None])
    def test_unknown_names_are_errors(self, cell):
        table = read({"split": ["train", cell, "dev"]})
        with pytest.raises(DataError, match="frame:1:split") as caught:
            make_splits(table, SplitConfig(column="split"))
        assert caught.value.code == 221
        assert "did you mean 'test'" in caught.value.fix or cell is None

    def test_empty_splits_and_missing_columns_are_errors(self):
        table = read({"split": ["train", "dev"]})
        with pytest.raises(DataError, match="'test' is empty"):
            make_splits(table, SplitConfig(column="split"))
        with pytest.raises(DataError, match="did you mean 'split'"):
            make_splits(table, SplitConfig(column="splt"))

    def test_a_split_without_names_is_made_from_the_training_rows(self):
        labels = ["a", "b"] * 50
        table = read({"split": ["train"] * 90 + ["test"] * 10, "label": labels})
        names = {"train": ("train",), "validation": (), "test": ("test",)}
        splits = make_splits(table, SplitConfig(column="split", names=names), "label")
        assert list(splits) == ["train", "validation", "test"]
        assert {k: len(v) for k, v in splits.items()} == {
            "train": 80,
            "validation": 10,
            "test": 10,
        }
        assert splits["test"].tolist() == list(range(90, 100))
        assert_partition(splits, 100)
        assert sum(labels[i] == "a" for i in splits["validation"]) == 5

    def test_training_needs_names(self):
        names = {"train": (), "test": ("test",)}
        with pytest.raises(ConfigError, match=r"names\.train"):
            make_splits(read({"s": ["test"]}), SplitConfig(column="s", names=names))

    def test_the_embedded_split(self):
        splits = make_splits(read("emoji"), SplitConfig(column="split"))
        assert {k: len(v) for k, v in splits.items()} == {
            "train": 1283,
            "validation": 234,
            "test": 389,
        }


class TestStored:
    def test_round_trip(self, tmp_path):
        table = table_of({"a": 30, "b": 30})
        splits = make_splits(table, SplitConfig(), "label")
        save(splits, table, tmp_path / "split.json")
        assert same(load(tmp_path / "split.json", table), splits)
        stored = json.loads((tmp_path / "split.json").read_text())
        assert stored["fingerprint"] == table.fingerprint
        assert stored["splits"]["test"] == splits["test"].tolist()

    def test_changed_data_are_refused(self, tmp_path):
        table, changed = read({"a": [*range(10)]}), read({"a": [*range(9), 10]})
        splits = make_splits(table, SplitConfig(fractions=(0.5, 0.25, 0.25)))
        save(splits, table, tmp_path / "split.json")
        with pytest.raises(DataError, match="data changed") as caught:
            load(tmp_path / "split.json", changed)
        assert caught.value.code == 217
        assert same(load(tmp_path / "split.json", changed, allow_change=True), splits)
        with pytest.raises(DataError, match="10 rows then, 3 now"):
            load(tmp_path / "split.json", read({"a": [1, 2, 3]}), allow_change=True)


class TestThinned:
    @pytest.mark.parametrize("share", [0.1, 0.37])
    def test_every_class_keeps_its_share_of_the_training_rows(self, share):
        counts = {"a": 200, "b": 45, "c": 11, "d": 2}
        table = table_of(counts)
        labels = np.array(table.column("label"))
        splits = make_splits(table, SplitConfig(), "label")
        found = thinned(splits, table, share, column="label", seed=3)
        assert same({**found, "train": splits["train"]}, splits)
        assert set(found["train"]) < set(splits["train"])
        assert (np.diff(found["train"]) > 0).all()
        for label in counts:
            whole = (labels[splits["train"]] == label).sum()
            kept = (labels[found["train"]] == label).sum()
            assert kept == max(1, kept)
            assert abs(kept - share * whole) < 1
        assert abs(len(found["train"]) - share * len(splits["train"])) <= 2

    def test_it_depends_on_the_seed_and_not_on_the_share_of_all(self):
        table = table_of({"a": 60, "b": 40})
        splits = make_splits(table, SplitConfig(), "label")
        some = [thinned(splits, table, 0.2, column="label", seed=s)["train"] for s in (0, 0, 1)]
        assert np.array_equal(some[0], some[1])
        assert not np.array_equal(some[0], some[2])
        assert same(thinned(splits, table, 1.0, column="label"), splits)

    @pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
    def test_what_is_no_share_is_refused(self, share):
        table = table_of({"a": 20})
        with pytest.raises(ConfigError, match="out of range"):
            thinned(make_splits(table, SplitConfig()), table, share, column=None)
