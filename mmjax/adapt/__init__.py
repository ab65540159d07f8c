"""What of a model is trained, and how: adapters, freezing, schedules of what is free.

A config's `adapt` is a mapping of names of one's own to strategies of this room:

    adapt={"text": Spec("lora", rank=8, targets=("^encoders_text/.*/(query|value)$",))}
    adapt={"train": Spec("only", parts=("heads", "biases"))}

Adapters work by interception: a model is built, initialised and called as ever, and `Adapted` (in
`wrapping.py`) changes the calls of the modules whose path a pattern finds. Models know nothing of
it. Their parameters lie beside the model's, under `adapt/<name>/<path with dots>/<parameter>`.

To add one: a file with a dataclass (`base.py`), and a line below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Annotated, Any

from mmjax.core.registry import Registry, Spec

if TYPE_CHECKING:
    from mmjax.adapt.merging import merge, unmerge
    from mmjax.adapt.wrapping import adapted

registry = Registry(
    "adaptation",
    {
        "lora": "mmjax.adapt.lora:LoRA",
        "adalora": "mmjax.adapt.adalora:AdaLoRA",
        "ia3": "mmjax.adapt.ia3:IA3",
        "bottleneck": "mmjax.adapt.bottleneck:Bottleneck",
        "prefix": "mmjax.adapt.prefix:Prefix",
        "prompt": "mmjax.adapt.prompt:Prompt",
        "quantized": "mmjax.adapt.quantized:Quantized",
        "only": "mmjax.adapt.freezing:Only",
        "layer_decay": "mmjax.adapt.freezing:LayerDecay",
        "gradual": "mmjax.adapt.freezing:Gradual",
    },
)

AdaptSpec = Annotated[Spec, registry]

KEY = "adapt"
"""Where the adapters lie among a model's parameters."""

_PLACES = {"adapted": "wrapping", "merge": "merging", "unmerge": "merging"}

__all__ = ["KEY", "AdaptSpec", "adapted", "build", "merge", "registry", "unmerge"]


def build(name: str, **options: Any):
    """The strategy registered under `name`: `build("lora", rank=4)`."""
    return registry.build(name, **options)


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f"mmjax.adapt.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'mmjax.adapt' has no attribute '{name}'")
