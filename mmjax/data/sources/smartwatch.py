"""Shoulder exercises as a watch feels them, from a package that need not be imported."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.core.packages import locate
from mmjax.core.typing import Float
from mmjax.data.sources.files import existing, fingerprint
from mmjax.data.table import Table

INSTALL = "pip install --no-deps seglearn==1.2.5"
RATE = 50.0
"""Readings a second."""

MIRRORED = np.array([-1, 1, 1, 1, -1, -1], np.float32)
"""What the mirror image of a channel is multiplied by."""
_ALLOWED = {
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
"""What a pickle of arrays names; one that names anything else is refused."""


@dataclasses.dataclass(frozen=True)
class Smartwatch:
    """Windows of the recordings of `seglearn` 1.2.5: ten persons, seven exercises, either arm.

    Burns et al. 2018 (arXiv:1802.01489) recorded 20 repetitions of each exercise with each arm at
    50 Hz: 140 recordings of 19 to 52 seconds. Columns: `index`, `acceleration` float32 [width 3] in
    g, `rotation` float32 [width 3] in radians a second, `readings`, both beside each other,
    `exercise`, `person` (1 to 10), `arm` ("left", "right"), `recording` (0 to 139), `start` (its
    first reading) and `split`. Windows of
    `width` readings begin every `step` readings; what is left at the end is in none. Persons of
    `test` and `validation` are in those splits, all others train.

    With `mirror`, a watch on the left arm reads as its mirror image would on the right one:
    acceleration across the arm and the rotations about the two other axes change their sign.

    Raises MissingExtra if the package is not there, DataError for a file that holds something else.
    """

    width: int = 100
    step: int = 50
    test: tuple[int, ...] = (10,)
    validation: tuple[int, ...] = (9,)
    mirror: bool = True
    folder: str = "package:seglearn/data"
    """The folder of `watch_dataset.npy`."""

    def __post_init__(self) -> None:
        wrong = {
            "width": self.width < 1,
            "step": self.step < 1,
            "validation": bool({*self.test} & {*self.validation}),
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="source smartwatch",
                fix="width and step are 1 or more, and nobody is in two splits",
            )

    def read(self) -> Table:
        """All windows, recording by recording."""
        try:
            path = existing(Path(locate(self.folder)) / "watch_dataset.npy")
        except ConfigError as error:
            raise MissingExtra(114, f"smartwatch reads {error.what}", fix=INSTALL) from error
        recordings = read_recordings(path)
        splits = {
            **dict.fromkeys(self.validation, "validation"),
            **dict.fromkeys(self.test, "test"),
        }
        names = (
            "acceleration",
            "rotation",
            "readings",
            "exercise",
            "person",
            "arm",
            "recording",
            "start",
        )
        columns: dict[str, list[Any]] = {name: [] for name in (*names, "split")}
        for number, one in enumerate(recordings):
            readings = one.readings * MIRRORED if self.mirror and not one.right else one.readings
            arm = "right" if one.right else "left"
            for start in range(0, len(readings) - self.width + 1, self.step):
                window = readings[start : start + self.width]
                parts = (window[:, :3], window[:, 3:], window)
                about = (one.exercise, one.person, arm, number, start)
                split = splits.get(one.person, "train")
                for name, cell in zip(columns, (*parts, *about, split), strict=True):
                    columns[name].append(cell)
        columns = {"index": list(range(len(columns["start"]))), **columns}
        # The folder is where the same data lie, which changes nothing.
        settings = dataclasses.replace(self, folder="")
        digest = hashlib.sha256(f"{fingerprint(path)} {settings}".encode()).hexdigest()
        return Table(columns, "smartwatch", digest)


@dataclasses.dataclass(frozen=True)
class Recording:
    """One exercise of one person with one arm."""

    readings: Float[np.ndarray, "t 6"]
    exercise: str
    person: int
    right: bool


def read_recordings(path: Path) -> list[Recording]:
    """All recordings, in the order of the file."""
    try:
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            found = _ArraysAlone(file).load().item()
        names = [str(name) for name in found["y_labels"]]
        columns = (found[name] for name in ("X", "y", "subject", "side"))
        return [
            Recording(np.asarray(x, np.float32).reshape(-1, 6), names[int(y)], int(who), bool(side))
            for x, y, who, side in zip(*columns, strict=True)
        ]
    except Exception as error:  # a broken pickle raises nearly anything
        raise DataError(
            215, f"no such data as smartwatch reads: {error}", where=str(path), fix=INSTALL
        ) from error


class _ArraysAlone(pickle.Unpickler):
    """Loads arrays and plain containers: what a file says, and nothing that it does."""

    def find_class(self, module: str, name: str) -> Any:
        # Where arrays are made has moved since the file was written.
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return super().find_class(module, name)
