"""Headlines over time that are generated, each with numbers of the market beside it."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.data.table import Table

TOPICS = ("banks", "energy", "carmakers", "retail")

_NAMES = {
    "banks": ("Aldermoor Bank", "Coastline Credit", "Fenwick Savings"),
    "energy": ("Northwell Oil", "Brightgrid", "Harrow Solar"),
    "carmakers": ("Tarn Motors", "Velda", "Ostrander Trucks"),
    "retail": ("Marlow Stores", "Pennywise Market", "Quill & Co"),
}
_PHRASES = {
    -3: ("files for bankruptcy", "collapses after fraud", "is charged over forged accounts"),
    -2: ("cuts its forecast as orders slump", "posts a heavy loss", "recalls a faulty product"),
    -1: ("misses expectations by a little", "delays an opening", "sees costs creep up"),
    0: ("publishes its results", "holds its annual meeting", "names a new secretary"),
    1: ("edges past expectations", "opens a new branch", "trims its debt"),
    2: ("raises its forecast as orders climb", "posts a strong profit", "wins a large contract"),
    3: ("reports a record year", "soars after a breakthrough", "doubles its profit"),
}
_USUAL = (0.03, 0.10, 0.17, 0.32, 0.20, 0.13, 0.05)
"""Shares of the phrases, from the worst on."""
_SURGE = (0.25, 0.40, 0.20, 0.10, 0.05, 0.0, 0.0)
_START = datetime.date(2024, 1, 1)


@dataclasses.dataclass(frozen=True)
class GeneratedFinance:
    """Generated headlines, which no paper has printed, about made-up companies of four topics.

    Columns: `id`, `date` (ISO 8601), `topic`, `headline`, `change` (of the price that day, in per
    cent; missing in a tenth of the rows), `volume` (the logarithm of the trade, over the usual),
    `score` (-3 to 3), `label` ("negative" below -0.5, "positive" above 0.5, else "neutral") and
    `split`. A headline says as much as its phrase does, and half of those that say nothing of it
    ("publishes its results") stand beside a change that does, so that both are needed. Days follow
    each other: the first 0.6 train, the next 0.15 are for validation, the rest for test.

    On the `surge_days` from `surge_start` on, `surge_topic` has three times as many headlines as
    otherwise, most of them bad.
    """

    days: int = 160
    per_day: float = 3.0
    """Headlines of a topic on a day, on average."""
    surge_topic: str = "banks"
    surge_start: int = 145
    surge_days: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.days < 10 or self.per_day <= 0 or self.seed < 0 or self.surge_topic not in TOPICS:
            raise ConfigError(
                106,
                f"days = {self.days}, per_day = {self.per_day}, seed = {self.seed}, "
                f"surge_topic = '{self.surge_topic}'",
                where="source generated_finance",
                fix=f"10 days or more, some headlines, and a topic of {', '.join(TOPICS)}",
            )

    def read(self) -> Table:
        """All headlines, day by day."""
        rng = np.random.default_rng(self.seed)
        names = (
            *("id", "date", "topic", "headline", "change", "volume"),
            *("score", "label", "split"),
        )
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for day in range(self.days):
            share = day / self.days
            split = "train" if share < 0.6 else "validation" if share < 0.75 else "test"
            date = (_START + datetime.timedelta(days=day)).isoformat()
            for topic in TOPICS:
                surges = (
                    topic == self.surge_topic
                    and self.surge_start <= day < self.surge_start + self.surge_days
                )
                for _ in range(rng.poisson(self.per_day * (3 if surges else 1))):
                    cells = self._headline(rng, topic, surges)
                    columns["id"].append(f"h{len(columns['id'])}")
                    for name, cell in zip(names[1:], (date, topic, *cells, split), strict=True):
                        columns[name].append(cell)
        digest = hashlib.sha256(repr((self, columns["headline"], columns["score"])).encode())
        return Table(columns, "generated_finance", digest.hexdigest())

    def _headline(self, rng: np.random.Generator, topic: str, surges: bool) -> tuple[Any, ...]:
        """Headline, change, volume, score and label."""
        worth = int(rng.choice(range(-3, 4), p=_SURGE if surges else _USUAL))
        company = str(rng.choice(_NAMES[topic]))
        phrase = str(rng.choice(_PHRASES[worth]))
        score = float(worth)
        if worth == 0 and rng.random() < 0.5:
            score = float(rng.choice((-2.0, 2.0)))
        change: float | None = round(float(1.2 * score + rng.normal(0, 0.8)), 2)
        if rng.random() < 0.1:
            change = None
        volume = round(float(0.3 * abs(score) + rng.normal(0, 0.3)), 2)
        label = "positive" if score > 0.5 else "negative" if score < -0.5 else "neutral"
        return f"{company} {phrase}", change, volume, score, label
