import logging
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import Join
from mmjax.data.joining import join
from mmjax.data.manifest import read

SOURCE = Spec("frame")


def cells(series):
    return [None if pd.isna(cell) else cell for cell in series]


def streams(seed, count=200, resolution=8):
    """Two unsorted streams whose times are exact in binary and often equal or tied."""
    random = np.random.default_rng(seed)
    left = pd.DataFrame({"time": random.integers(0, 50 * resolution, count) / resolution})
    right = pd.DataFrame(
        {
            "time": random.choice(50 * resolution, count // 3, replace=False) / resolution,
            "value": random.normal(size=count // 3),
        }
    )
    for frame in (left, right):
        frame["key"] = random.choice(["x", "y", "z"], len(frame))
    return left, right


class TestByKey:
    def test_agrees_with_pandas_merge(self):
        random = np.random.default_rng(0)
        left = pd.DataFrame({"id": random.integers(0, 60, 100), "a": np.arange(100)})
        right = pd.DataFrame({"id": random.permutation(40), "b": np.arange(40), "c": 0.5})
        table, report = join(read(left), read(right), Join(SOURCE, on="id"))
        merged = left.merge(right, on="id", how="left", indicator=True)
        for name in ("id", "a", "b", "c"):
            assert list(table.column(name)) == cells(merged[name])
        assert report.matched == (merged["_merge"] == "both").sum()
        assert report.unmatched_left == (merged["_merge"] == "left_only").sum()
        assert report.unmatched_right == (~right["id"].isin(left["id"])).sum()

    def test_numbers_and_their_text_are_one_key_and_missing_keys_match_nothing(self):
        left = read({"id": ["1", "2", "03", None, "x"]})
        right = read({"id": [1, 2.0, 3, None, "x"], "b": [*"pqrst"]})
        table, report = join(left, right, Join(SOURCE, on="id"))
        assert list(table.column("b")) == ["p", "q", None, None, "t"]
        assert (report.matched, report.unmatched_left, report.unmatched_right) == (3, 2, 2)

    def test_duplicate_keys_on_the_right_name_the_first_five(self):
        keys = [*"abcdefg", *"abcdefg", "h"]
        right = read({"id": keys, "b": list(range(15))})
        with pytest.raises(DataError, match=r"7 keys in 'id' .*: 'a', 'b', 'c', 'd', 'e' \|"):
            join(read({"id": ["a"]}), right, Join(SOURCE, on="id"))

    def test_columns_of_both_need_a_prefix(self):
        left, right = read({"id": [1], "a": [1]}), read({"id": [1], "a": [2]})
        with pytest.raises(DataError, match=r"both .* column 'a'.*prefix"):
            join(left, right, Join(SOURCE, on="id"))
        table, _ = join(left, right, Join(SOURCE, on="id", prefix="right_"))
        assert table.row(0) == {"id": 1, "a": 1, "right_a": 2}

    def test_missing_columns_name_the_nearest_and_their_table(self):
        with pytest.raises(DataError, match="did you mean 'key'"):
            join(read({"key": [1]}), read({"ky": [1]}), Join(SOURCE, on="ky"))

    def test_media_keep_their_own_root(self, tmp_path):
        (tmp_path / "l").mkdir()
        (tmp_path / "r").mkdir()
        left = read({"id": [1], "image": ["a.png"]}, tmp_path / "l")
        right = read({"id": [1], "sound": ["a.wav"]}, tmp_path / "r")
        table, _ = join(left, right, Join(SOURCE, on="id"))
        assert table.root_of("image") == tmp_path / "l"
        assert table.root_of("sound") == Path(tmp_path / "r")

    def test_the_fingerprint_is_of_both_and_the_rule(self):
        def fingerprint(right, **options):
            left = read({"id": [1], "time": [0.0]})
            return join(left, read(right), Join(SOURCE, **options))[0].fingerprint

        right = {"id": [1], "time": [0.0], "b": [1]}
        found = {
            fingerprint({"id": [1], "b": [1]}, on="id"),
            fingerprint({"id": [1], "b": [2]}, on="id"),
            fingerprint(right, on="id", time="time"),
            fingerprint(right, on="id", time="time", tolerance=1.0),
            read({"id": [1], "time": [0.0]}).fingerprint,
        }
        assert len(found) == 5

    def test_one_line_is_logged_louder_when_nothing_matched(self, caplog):
        caplog.set_level(logging.INFO, logger="mmjax")
        for key in (1, 2):
            join(read({"id": [1]}), read({"id": [key], "b": [0]}), Join(SOURCE, on="id"))
        assert [(r.levelname, r.message.count("\n")) for r in caplog.records] == [
            ("INFO", 0),
            ("WARNING", 0),
        ]
        assert "0 rows matched, 1 without a match, 1 unused" in caplog.records[1].message

    def test_columns_are_sequences_that_processes_can_send(self):
        left, right = read({"id": [2, 1, 3]}), read({"id": [1, 2], "b": ["p", "q"]})
        column = pickle.loads(pickle.dumps(join(left, right, Join(SOURCE, on="id"))[0])).column("b")
        assert (list(column), column[1:], column[-1]) == (["q", "p", None], ["p", None], None)


class TestByTime:
    @pytest.mark.parametrize("by", [None, "key"])
    @pytest.mark.parametrize("tolerance", [0.0, 0.125, 0.5, 100.0])
    def test_nearest_agrees_with_merge_asof(self, by, tolerance):
        for seed in range(3):
            left, right = streams(seed)
            if by is None:
                right = right.drop(columns="key")
            config = Join(SOURCE, on=by, time="time", tolerance=tolerance)
            table, report = join(read(left), read(right), config)
            expected = pd.merge_asof(
                left.reset_index().sort_values("time", kind="stable"),
                right.sort_values("time", kind="stable"),
                on="time",
                by=by,
                direction="nearest",
                tolerance=tolerance,
            ).sort_values("index")
            assert list(table.column("value")) == cells(expected["value"])
            assert report.matched == expected["value"].notna().sum()
            assert report.unmatched_right == len(right) - expected["value"].dropna().nunique()

    def test_nearest_takes_the_last_of_equal_times_and_the_earlier_of_two_as_near(self):
        right = read({"time": [1.0, 1.0, 3.0], "b": [*"pqr"]})
        left = read({"time": [1.0, 2.0, 3.5]})
        table, _ = join(left, right, Join(SOURCE, time="time", tolerance=1.0))
        assert list(table.column("b")) == ["q", "q", "r"]

    def test_window_agrees_with_brute_force(self):
        left, right = streams(7)
        config = Join(SOURCE, on="key", time="time", rule="window", tolerance=1.5)
        table, report = join(read(left), read(right), config)
        expected = []
        for _, row in left.iterrows():
            near = right[(right.key == row.key) & ((right.time - row.time).abs() <= 1.5)]
            expected.append(near.sort_values("time", kind="stable")["value"].tolist() or None)
        assert list(table.column("value")) == expected
        assert report.matched == sum(found is not None for found in expected)

    def test_resampled_agrees_with_interp(self):
        random = np.random.default_rng(0)
        times = np.sort(random.choice(1000, 60, replace=False) / 8)
        values = random.normal(size=60)
        wanted = random.uniform(-5, 130, 300)
        order = random.permutation(60)
        right = {
            "time": times[order],
            "value": [str(v) for v in values[order]],
            "note": ["x"] * 60,
        }
        config = Join(SOURCE, time="time", rule="resampled", tolerance=3.0)
        table, report = join(read({"time": wanted}), read(right), config)
        assert "note" not in table.columns
        interpolated = np.interp(wanted, times, values)
        matched = 0
        for i, found in enumerate(table.column("value")):
            before, after = times[times <= wanted[i]], times[times >= wanted[i]]
            inside = len(before) and len(after)
            if inside and wanted[i] - before[-1] <= 3 and after[0] - wanted[i] <= 3:
                assert found == pytest.approx(interpolated[i], abs=1e-12)
                matched += 1
            else:
                assert found is None
        assert report.matched == matched
        assert 0 < matched < 300

    def test_resampled_skips_missing_values_and_reaches_the_ends(self):
        right = {"time": [0, 1, 2], "a": [0.0, None, 4.0], "b": [1.0, 2.0, None]}
        config = Join(SOURCE, time="time", rule="resampled", tolerance=2.0)
        table, report = join(read({"time": [0, 1, 2, 2.5]}), read(right), config)
        assert table.column("a") == [0.0, 2.0, 4.0, None]
        assert table.column("b") == [1.0, 2.0, None, None]
        assert (report.matched, report.unmatched_right) == (3, 0)

    def test_rows_without_a_time_match_nothing(self):
        left, right = read({"time": [None, "1.0"]}), read({"time": [1, None], "b": [*"pq"]})
        table, report = join(left, right, Join(SOURCE, time="time"))
        assert list(table.column("b")) == [None, "p"]
        assert (report.unmatched_left, report.unmatched_right) == (1, 1)

    @pytest.mark.parametrize("cell", ["12:30", "2026-01-01", "1,5", "nan"])
    def test_times_are_numbers_of_seconds(self, cell):
        left, right = read({"time": [0, 1]}), read({"time": [0, cell], "b": [1, 2]})
        with pytest.raises(DataError, match=f"'{cell}' is no time.*frame:1:time"):
            join(left, right, Join(SOURCE, time="time"))

    def test_resampling_needs_numbers(self):
        config = Join(SOURCE, time="time", rule="resampled")
        with pytest.raises(DataError, match="no column of numbers"):
            join(read({"time": [0]}), read({"time": [0], "b": ["x"]}), config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs 'on' or 'time'"),
        ({"on": "id", "rule": "window"}, "needs 'time'"),
        ({"time": "t", "tolerance": -1.0}, "tolerance"),
        ({"time": "t", "tolerance": float("nan")}, "tolerance"),
    ],
)
def test_joins_that_say_nothing(options, message):
    with pytest.raises(ConfigError, match=message):
        join(read({"id": [1]}), read({"id": [1]}), Join(SOURCE, **options))
