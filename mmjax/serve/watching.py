"""What an engine tells of itself while it works."""

from __future__ import annotations


class Watcher:
    """Hears what happens; this one forgets it. Every call comes from the engine's event loop."""

    def stage(self, name: str, seconds: float) -> None:
        """A part of an item's way took so long: `prepare`, `queue` or `run`."""

    def batch(self, rows: int, padded: int, tokens: int, padded_tokens: int) -> None:
        """A batch went into the model, with its rows and tokens before and after padding."""

    def shed(self, reason: str, rows: int) -> None:
        """Items were refused at the door, or dropped before they were computed."""

    def failed(self, code: int) -> None:
        """An item failed with an error's code."""
