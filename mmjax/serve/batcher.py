"""The queue of an engine: which items go into the model together, and when. It has no clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Any


@dataclasses.dataclass(eq=False, slots=True)
class Ticket:
    """An item that waits for its batch. Times are seconds of any one clock."""

    item: Any
    bucket: Hashable
    arrived: float
    deadline: float
    answer: Any = None
    """Whom to tell."""


class Batcher:
    """Items by bucket, oldest first; a batch is of one bucket.

    A bucket is due when it fills a batch, or when its oldest item has waited `max_delay` seconds,
    times the `patience` with which a batch is asked for. Of several that are due the one with the
    oldest item goes first, so that none starves.
    """

    def __init__(self, *, max_batch: int, max_delay: float):
        self._max_batch = max_batch
        self._max_delay = max_delay
        self._waiting: dict[Hashable, dict[Ticket, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, ticket: Ticket) -> None:
        self._waiting.setdefault(ticket.bucket, {})[ticket] = None

    def remove(self, ticket: Ticket) -> bool:
        """Takes an item out; False if it does not wait any more."""
        tickets = self._waiting.get(ticket.bucket, {})
        if ticket not in tickets:
            return False
        del tickets[ticket]
        if not tickets:
            del self._waiting[ticket.bucket]
        return True

    def take(self, now: float, *, patience: float = 1.0) -> list[Ticket]:
        """The next batch that is due, or nothing. Items past their deadline are dropped."""
        self._drop_late(now)
        delay = self._max_delay * patience
        due = [
            (_oldest(tickets), bucket)
            for bucket, tickets in self._waiting.items()
            if len(tickets) >= self._max_batch or now >= _oldest(tickets) + delay
        ]
        if not due:
            return []
        _, bucket = min(due, key=lambda pair: pair[0])
        tickets = self._waiting[bucket]
        batch = [ticket for ticket, _ in zip(tickets, range(self._max_batch), strict=False)]
        for ticket in batch:
            del tickets[ticket]
        if not tickets:
            del self._waiting[bucket]
        return batch

    def next_due(self) -> float | None:
        """When the oldest item will have waited long enough; None if none waits."""
        oldest = [_oldest(tickets) for tickets in self._waiting.values()]
        return min(oldest) + self._max_delay if oldest else None

    def _drop_late(self, now: float) -> None:
        late = [t for tickets in self._waiting.values() for t in tickets if t.deadline <= now]
        for ticket in late:
            self.remove(ticket)


def _oldest(tickets: dict[Ticket, None]) -> float:
    return next(iter(tickets)).arrived
