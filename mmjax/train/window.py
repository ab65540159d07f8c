"""What the steps since the last line of metrics returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mmjax.train.packed import Packed
from mmjax.train.stepping import Within


class Window:
    """Losses and sums of the steps since the last line; they stay on the devices until `read`.

    Its `state` is kept with a checkpoint, so that a run stopped between two lines of metrics writes
    the same lines as one that was not.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.sums: dict[str, np.ndarray] = {}
        """The task's, float64. Skipped steps are in neither."""
        self._pending: list[Any] = []

    def add(self, values: Any) -> None:
        """What one step returned, maybe `Packed` or `Within` what several did."""
        self._pending.append(values)

    def __len__(self) -> int:
        """Steps that were added and not read yet."""
        return len(self._pending)

    def read(self) -> list[dict[str, Any]]:
        """What was added since the last `read`, on the host, in order."""
        arrays = {id(one): one for one in map(_arrays, self._pending)}
        told = dict(zip(arrays, jax.device_get([*arrays.values()]), strict=True))
        found = [_of_step(one, told[id(_arrays(one))]) for one in self._pending]
        self._pending = []
        for values in found:
            if values["skipped_in_a_row"]:
                continue
            self.losses.append(float(values["loss"]))
            for name, part in values["sums"].items():
                self.sums[name] = np.asarray(self.sums.get(name, 0.0) + np.float64(part))
        return found

    def clear(self) -> None:
        """Begins the next line; everything must have been read."""
        self.losses, self.sums = [], {}

    def state(self) -> dict[str, Any]:
        """JSON values; of the sums only what is not zero, since few entries of large ones are."""
        return {
            "losses": list(self.losses),
            "sums": {name: _sparse(value) for name, value in self.sums.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.losses = [float(loss) for loss in state["losses"]]
        self.sums = {name: _dense(stored) for name, stored in state["sums"].items()}


def _arrays(values: Any) -> Any:
    return values.several if isinstance(values, Within) else values


def _of_step(values: Any, arrays: Any) -> dict[str, Any]:
    found = values.of(arrays) if isinstance(values, Within) else arrays
    return found.tree if isinstance(found, Packed) else found


def _sparse(array: np.ndarray) -> dict[str, list]:
    flat = array.reshape(-1)
    at = np.flatnonzero(flat)
    return {"shape": list(array.shape), "at": at.tolist(), "values": flat[at].tolist()}


def _dense(stored: Mapping[str, list]) -> np.ndarray:
    array = np.zeros(stored["shape"], np.float64)
    array.reshape(-1)[stored["at"]] = stored["values"]
    return array
