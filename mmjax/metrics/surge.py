"""Sentiment over time: its trend by topic, and an alarm when negative news surges."""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.numbers import parse_number


def surges(
    times: Sequence[Any],
    scores: Sequence[float],
    topics: Sequence[Any] | None = None,
    *,
    period: float = 1.0,
    window: int = 5,
    reference: int = 30,
    negative: float = -0.5,
    alpha: float = 1e-3,
    least: int = 3,
) -> list[dict[str, Any]]:
    """What each topic's news is like in each period, and whether too much of it is bad.

    `times` are dates (ISO 8601), or numbers in days; a `period` is that many days, counted from the
    earliest. Scores below `negative` are negative news. Returns a dictionary for each topic and
    period, in order, periods without news included:

    - `topic`, `time` (the period's first day, as the times are given), `count`, `negative`, `mean`
      (of its scores; None without any);
    - `trend` and `slope`: the mean score of the last `window` periods, and the slope per period of
      the least-squares line through the scores in them; None where they are not defined;
    - `expected`: the negative news of `window` periods at the rate of the `reference` periods
      before them, of which the first periods of all have fewer;
    - `p`: how likely so many or more negative news in the window would be at that rate: given the
      total of both, theirs is binomial with the share window / (window + reference) (Przyborowski
      and Wilenski 1940). 1 without any period of reference;
    - `alarm`: whether p is at most `alpha` and the window has at least `least` negative news.

    Rows whose score is NaN are left out. Raises DataError for times that cannot be read and columns
    of different lengths.
    """
    if min(window, reference, least) < 1 or not 0 < alpha < 1 or not period > 0:
        raise ConfigError(
            106,
            f"period = {period}, window = {window}, reference = {reference}, alpha = {alpha}, "
            f"least = {least}",
            where="surges",
            fix="1 or more, alpha between 0 and 1, a period above 0",
        )
    names = ["all"] * len(scores) if topics is None else list(topics)
    if not len(times) == len(scores) == len(names):
        raise DataError(
            540,
            f"{len(times)} times, {len(scores)} scores and {len(names)} topics",
            fix="one of each a row",
        )
    rows = [i for i, score in enumerate(scores) if score == score]
    days = {i: _day(times[i], i) for i in rows}
    if not rows:
        return []
    first = min(days.values())
    places = {i: int((day - first) // period) for i, day in days.items()}
    count = max(places.values()) + 1
    dates = parse_number(times[rows[0]]) is None
    grouped: dict[Any, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for i in rows:
        grouped[names[i]][places[i]].append(float(scores[i]))
    found = []
    for topic in sorted(grouped, key=str):
        bad = np.array([sum(s < negative for s in grouped[topic][at]) for at in range(count)])
        for at in range(count):
            own = grouped[topic][at]
            start = max(0, at - window + 1)
            before = max(0, start - reference)
            now, past = int(bad[start : at + 1].sum()), int(bad[before:start].sum())
            width, held = at + 1 - start, start - before
            p = _tail(now, now + past, width / (width + held)) if held else 1.0
            recent = [(one, s) for one in range(start, at + 1) for s in grouped[topic][one]]
            day = first + at * period
            found.append(
                {
                    "topic": topic,
                    "time": _date(day) if dates else day,
                    "count": len(own),
                    "negative": int(bad[at]),
                    "mean": float(np.mean(own)) if own else None,
                    "trend": float(np.mean([s for _, s in recent])) if recent else None,
                    "slope": _slope(recent),
                    "expected": past / held * width if held else None,
                    "p": p,
                    "alarm": bool(p <= alpha and now >= least),
                }
            )
    return found


def _slope(points: Sequence[tuple[int, float]]) -> float | None:
    x, y = np.array([at for at, _ in points], float), np.array([s for _, s in points])
    if len(set(x.tolist())) < 2:
        return None
    x -= x.mean()
    return float(x @ (y - y.mean()) / (x @ x))


def _tail(least: int, trials: int, share: float) -> float:
    """P(X >= least) of a binomial X."""
    if least <= 0:
        return 1.0
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(share)
        + (trials - k) * math.log1p(-share)
        for k in range(least, trials + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _day(time: Any, row: int) -> float:
    if isinstance(time, datetime.datetime):
        return time.date().toordinal() + (time.hour * 60 + time.minute) / 1440
    if isinstance(time, datetime.date):
        return float(time.toordinal())
    number = parse_number(time)
    if number is not None:
        return number
    try:
        return _day(datetime.datetime.fromisoformat(str(time)), row)
    except ValueError as error:
        raise DataError(
            531,
            f"'{time}' is neither a date nor a number of days",
            where=f"row {row}",
            fix="give dates such as 2024-05-31",
        ) from error


def _date(day: float) -> str:
    return datetime.date.fromordinal(math.floor(day)).isoformat()
