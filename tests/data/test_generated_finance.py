"""Generated headlines: what they say, and that a surge in them is found."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.api.trends import alarms, latest, trend
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import sources


def test_days_are_in_order_and_text_and_numbers_both_tell():
    table = sources.build("generated_finance").read()
    again = sources.build("generated_finance").read()
    assert again.fingerprint == table.fingerprint
    assert sources.build("generated_finance", seed=1).read().fingerprint != table.fingerprint
    dates, splits = list(table.column("date")), list(table.column("split"))
    assert dates == sorted(dates)
    order = [("train", "validation", "test").index(one) for one in splits]
    assert order == sorted(order)
    scores = np.array(table.column("score"))
    change = np.array([np.nan if one is None else one for one in table.column("change")])
    known = ~np.isnan(change)
    assert 0.85 < known.mean() < 0.95
    assert np.corrcoef(scores[known], change[known])[0, 1] > 0.8
    silent = np.array(["publishes its results" in one for one in table.column("headline")])
    assert 0.3 < (scores[silent] != 0).mean() < 0.7
    rows = zip(table.column("label"), scores, strict=True)
    assert all((label == "neutral") == (score == 0) for label, score in rows)


def test_the_trend_of_predictions_tells_of_the_surge(tmp_path):
    data = Spec("generated_finance")
    table = sources.build("generated_finance").read()
    predictions = [{"row": row, "score": score} for row, score in enumerate(table.column("score"))]
    out = tmp_path / "trend.jsonl"
    found = trend(predictions, data, time="date", topic="topic", out=out)
    (first,) = alarms(found)
    assert first["topic"] == "banks"
    assert "2024-05-25" <= first["time"] <= "2024-05-28"  # day 145 is 25 May
    assert out.read_text().count("\n") == len(found) == 4 * 160
    assert [one["time"] for one in latest(found)] == [found[-1]["time"]] * 4
    with pytest.raises(DataError, match="a row and a score"):
        trend([{"row": 0, "label": "negative"}], data, time="date")
    with pytest.raises(DataError, match="no column 'day'"):
        trend(predictions, data, time="day")
    with pytest.raises(ConfigError, match="MMX-106"):
        sources.build("generated_finance", surge_topic="gold")
