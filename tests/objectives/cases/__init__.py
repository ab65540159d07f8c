"""What each registered objective computes, in NumPy float64: one file each, with its `CASE`.

The file bears the name under which the objective is registered. Its reference is written from the
paper, not from the module, and is asked for the loss and, by central differences, the gradient.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from scene import Scene


@dataclasses.dataclass(frozen=True)
class Case:
    """How to test one objective."""

    reference: Callable[[Scene], float]
    """The loss of a scene, all in float64."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Make it small; facts of the data are passed here too."""
    lengths: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Tokens of a request whose forward has another number than its modality's."""
    collections: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """State that it finds, besides its parameters."""
    without_gradient: tuple[str, ...] = ()
    """Ends of the paths of parameters that cannot matter."""
    tolerance: float = 1e-5


CASES: dict[str, Case] = {
    found.name: importlib.import_module(f"{__name__}.{found.name}").CASE
    for found in pkgutil.iter_modules(__path__)
}
