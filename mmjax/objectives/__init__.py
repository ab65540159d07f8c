"""Pretraining objectives: one term of a loss, one file each.

The losses are pure functions of arrays; the Linen module beside each owns its head and temperature
and is called as `objective(context, train=...) -> ObjectiveOutput` (`base.py`). It asks for further
forwards of an encoder by `requests`, and says by `batch_coupled` whether rows see each other.

To add one: a file with the function and the module, and a line below.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

from mmjax.core.registry import Registry, Spec

registry = Registry(
    "objective",
    {
        "contrastive": "mmjax.objectives.contrastive:Contrastive",
        "siglip": "mmjax.objectives.siglip:SigLIP",
        "momentum_contrastive": "mmjax.objectives.momentum:MomentumContrastive",
        "supervised_contrastive": "mmjax.objectives.supervised_contrastive:SupervisedContrastive",
        "triplet": "mmjax.objectives.triplet:Triplet",
        "matching": "mmjax.objectives.matching:Matching",
        "masked_lm": "mmjax.objectives.masked_lm:MaskedLM",
        "causal_lm": "mmjax.objectives.causal_lm:CausalLM",
        "vicreg": "mmjax.objectives.vicreg:VICReg",
        "distillation": "mmjax.objectives.distillation:Distillation",
        "captioning": "mmjax.objectives.captioning:Captioning",
        "prefix_lm": "mmjax.objectives.prefix_lm:PrefixLM",
        "masked_image": "mmjax.objectives.masked_patches:MaskedImage",
        "masked_audio": "mmjax.objectives.masked_patches:MaskedAudio",
        "masked_video": "mmjax.objectives.masked_patches:MaskedVideo",
        "jepa": "mmjax.objectives.jepa:JEPA",
    },
)

ObjectiveSpec = Annotated[Spec, registry]

_FUNCTIONS = {
    "clip_loss": "contrastive",
    "siglip_loss": "siglip",
    "momentum_contrastive_loss": "momentum",
    "supervised_contrastive_loss": "supervised_contrastive",
    "triplet_loss": "triplet",
    "matching_loss": "matching",
    "hard_negatives": "matching",
    "mask_tokens": "token_masking",
    "vicreg_loss": "vicreg",
    "distillation_loss": "distillation",
    "captioning_loss": "captioning",
    "masked_patches_loss": "masked_patches",
    "jepa_loss": "jepa",
}


def build(name: str, **options: Any):
    """The objective registered under `name`, as a Linen module."""
    return registry.build(name, **options)


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FUNCTIONS})
