"""mmjax: multimodal learning in JAX.

    import mmjax
    run = mmjax.fit("data.csv", label="group", workdir="runs/first")
    run.evaluate() ; run.predict("new.csv") ; run.embed("new.csv")

Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmjax import encoders, export, fusion, metrics, objectives, report, tasks
    from mmjax.api.comparing import compare
    from mmjax.api.compiling import compile
    from mmjax.api.continuing import continue_run
    from mmjax.api.cross_validation import cross_validate
    from mmjax.api.distilling import distill
    from mmjax.api.drifting import drift
    from mmjax.api.exporting_onnx import export_onnx
    from mmjax.api.fitting import fit
    from mmjax.api.handing_back import save_encoder
    from mmjax.api.hyperparameters import tune
    from mmjax.api.pipeline import pipeline
    from mmjax.api.predicting import predict_rows
    from mmjax.api.pretrained import convert, load_pretrained, save_pretrained
    from mmjax.api.run import Run, load_run
    from mmjax.api.souping import soup
    from mmjax.api.training import train, train_seeds
    from mmjax.api.validating import validate
    from mmjax.core.registry import Spec
    from mmjax.train.config import Config

__version__ = "0.1.0"

_PLACES = {
    "Config": "mmjax.train.config",
    "Run": "mmjax.api.run",
    "Spec": "mmjax.core.registry",
    "compare": "mmjax.api.comparing",
    "compile": "mmjax.api.compiling",
    "continue_run": "mmjax.api.continuing",
    "convert": "mmjax.api.pretrained",
    "cross_validate": "mmjax.api.cross_validation",
    "drift": "mmjax.api.drifting",
    "distill": "mmjax.api.distilling",
    "export_onnx": "mmjax.api.exporting_onnx",
    "fit": "mmjax.api.fitting",
    "load_pretrained": "mmjax.api.pretrained",
    "load_run": "mmjax.api.run",
    "pipeline": "mmjax.api.pipeline",
    "predict_rows": "mmjax.api.predicting",
    "save_encoder": "mmjax.api.handing_back",
    "save_pretrained": "mmjax.api.pretrained",
    "soup": "mmjax.api.souping",
    "train_seeds": "mmjax.api.training",
    "tune": "mmjax.api.hyperparameters",
    "validate": "mmjax.api.validating",
}
_ROOMS = ("encoders", "export", "fusion", "metrics", "objectives", "report", "tasks", "train")

__all__ = [
    "Config",
    "Run",
    "Spec",
    "compare",
    "compile",
    "continue_run",
    "convert",
    "cross_validate",
    "distill",
    "drift",
    "encoders",
    "export",
    "export_onnx",
    "fit",
    "fusion",
    "load_pretrained",
    "load_run",
    "metrics",
    "objectives",
    "pipeline",
    "predict_rows",
    "report",
    "save_encoder",
    "save_pretrained",
    "soup",
    "tasks",
    "train",
    "train_seeds",
    "tune",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"mmjax.{name}")
    raise AttributeError(f"module 'mmjax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, *_ROOMS})


_CALLED = {
    "export": "mmjax.api.exporting",
    "report": "mmjax.api.reports",
    "train": "mmjax.api.training",
}
"""Rooms that are the function of their name as well, and where that is."""


class _CalledRoom(types.ModuleType):
    """A room such as `mmjax.train`, which can be called."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(_CALLED[name]), name)(*args, **kwargs)


class _Package(types.ModuleType):
    """Python binds a package's name in its parent whenever anything in it is first imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and isinstance(value, types.ModuleType):
            value.__class__ = _CalledRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
