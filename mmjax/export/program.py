"""What a servable model promises: raw items in, answers out, a closed set of compiled shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

Example = Mapping[str, Any]
"""One raw item: a value by modality, or by column where a modality reads several.

A text is a string, or a list of them for a dialogue. A picture, sound, video, volume or set of
points is its encoded bytes (a picture also a PIL picture or uint8 [h w c]; a path only where paths
are allowed). A table is a mapping of columns. None, or no entry, is a missing modality.
"""


@dataclasses.dataclass(frozen=True)
class Input:
    """One modality that a program takes."""

    name: str
    kind: str
    """As the data room calls it: text, image, audio, video, volume, points, table, sequence, ..."""
    required: bool
    """Whether an item without it is refused. All others may be missing, but one must be there."""
    columns: tuple[str, ...]
    """The columns that it reads; its name stands for the first."""
    takes: str
    """What a raw value looks like, in words for a person."""
    limits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Bounds on a raw value by name, such as `max_chars`, `max_tokens`, `max_pixels`, `max_bytes`
    and `max_seconds`, as JSON values; a value beyond one is refused, or cut where the run cut it.
    `resize` is how a picture becomes a square: "crop", "squash" or "pad".
    """
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """For a table, each column: `{"kind": "number"}`, or `{"kind": "category", "values": [...]}`"""


@dataclasses.dataclass(frozen=True)
class Output:
    """One array that a program gives for an item."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Without the batch."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """One item as the model takes it; only items of one `bucket` go into one batch."""

    arrays: Mapping[str, Any]
    """Of each modality its example before it is padded; None for one that is missing."""
    bucket: Hashable
    texts: Mapping[str, Any]
    """The raw texts, for answers that are parts of them."""
    size: int = 0
    """Tokens or frames that are real, of all modalities padded to a length; for padding waste."""
    padded: int = 0
    """As many as they become in a batch."""

    @property
    def missing(self) -> tuple[str, ...]:
        """The modalities that the item has not."""
        return tuple(name for name, value in self.arrays.items() if value is None)


@dataclasses.dataclass(frozen=True)
class Result:
    """What the model says of one item."""

    arrays: Mapping[str, np.ndarray]
    """By the names of `outputs`, without the batch."""
    answer: Mapping[str, Any]
    """JSON values: what `Run.predict_one` gives."""


@runtime_checkable
class Program(Protocol):
    """A model that answers, with its parameters on the device.

    `prepare` is host work and may be called from many threads at once. `run` is called by one
    thread at a time. What it says of an item does not depend on the others of its batch.
    """

    @property
    def name(self) -> str:
        """What the folder calls the model."""

    @property
    def digest(self) -> str:
        """The sha256 of all that the folder holds, in hex."""

    @property
    def task(self) -> str:
        """The task's name in the registry."""

    @property
    def inputs(self) -> tuple[Input, ...]: ...

    @property
    def outputs(self) -> tuple[Output, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of classes or labels; empty where the task has none."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The rest that a card would tell, as JSON values: `metrics`, `variant`, `license`, ..."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The sizes that a batch is padded to, ascending; no batch has more than the last."""

    @property
    def buckets(self) -> tuple[Hashable, ...]:
        """Every bucket that `prepare` may give."""

    @property
    def compiles(self) -> int:
        """How many shapes were compiled, or read from a compilation cache, so far."""

    @property
    def streams(self) -> bool:
        """Whether `stream` gives more than one piece."""

    def prepare(self, example: Example, *, paths: bool = False) -> Prepared:
        """One raw item, checked and read.

        With `paths`, a string or path for a medium is a file of this machine; without, it is
        refused. Raises DataError that names the field, its value and what was expected.
        """

    def run(self, prepared: Sequence[Prepared]) -> list[Result]:
        """The results of one batch, in its order.

        Raises ConfigError for items of several buckets, or more of them than fit.
        """

    def warm_up(self) -> None:
        """Compiles every bucket at every batch size."""

    def stream(self, prepared: Prepared) -> Iterator[str]:
        """Pieces of a text as it is written, which together are the answer's `text`.

        Raises ConfigError for a task that writes none.
        """


Variant = Literal["f32", "bf16", "int8"]
"""How parameters are stored: as they are trained, rounded to bfloat16, or matrices as int8 with a
scale a column. Sums are taken as in the run."""
