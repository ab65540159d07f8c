"""What is known of a model type: which module it is here, and where its weights go."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax import encoders
from mmjax.core.errors import WeightsError, nearest
from mmjax.core.registry import Registry, Spec
from mmjax.nn.dense import ACTIVATIONS
from mmjax.pretrained.rules import Table

Names = frozenset[str]
"""The names of the weights that a folder holds, as the table spells them."""

Inputs = dict[str, np.ndarray]

_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_python": "gelu",
    "gelu_accurate": "gelu_tanh",
    "swish": "silu",
    "relu2": "relu_squared",
}


@dataclasses.dataclass(frozen=True)
class Family:
    """One `model_type` of Hugging Face.

    `config` below is transformers' config object.
    """

    spec: Callable[[Any, Names], Spec]
    """The module: its registered name, and the options that the config means."""
    table: Callable[[Any], Table]
    """Every weight of the torch class that `saved_as` names, in that class' spelling."""
    inputs: Callable[[Any], Inputs]
    """Fields that the module can be called with, tiny: for shapes only."""
    saved_as: str
    """The torch class that loads what `save_pretrained` writes."""
    registry: Registry = encoders.registry
    prefix: str = ""
    """What classes with a head put before the names, such as "bert."; what lacks it is a head."""
    left_out: tuple[str, ...] = ()
    """Patterns of weights that belong to heads: reported, not errors."""
    ignored: tuple[str, ...] = (r".*\bposition_ids", r".*num_batches_tracked")
    """Patterns of weights that follow from the config."""
    renames: tuple[tuple[str, str], ...] = ()
    """Patterns and replacements for older spellings, applied before anything else."""
    aliases: Callable[[Any], Mapping[str, str]] = lambda config: {}
    """Names of tied weights that may be there beside (or instead of) the name in the table."""
    constants: Callable[[Any], Mapping[str, np.ndarray]] = lambda config: {}
    """What the torch class saves besides the table, or where the module lacks a leaf of it."""
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Names of parts that can be loaded alone ("vision"), and their families."""
    part_config: str = ""
    """For a part: the attribute of the whole's config that is its own; empty for the whole."""
    config_class: str = ""
    """transformers' config class, where its own mapping of model types lacks this one."""


def activation(name: str, field: str = "hidden_act") -> str:
    """Our name of transformers' activation; raises WeightsError for one that is unknown."""
    ours = _ACTIVATIONS.get(name, name)
    if ours not in ACTIVATIONS:
        raise WeightsError(
            652,
            f"{field} = '{name}' is not known",
            where="config.json",
            fix=nearest(str(name), [*ACTIVATIONS, *_ACTIVATIONS]),
        )
    return ours


def only(config: Any, **supported: Any) -> None:
    """Raises WeightsError unless each field has its supported value; an absent field is fine."""
    for field, value in supported.items():
        found = getattr(config, field, value)
        if found != value:
            raise WeightsError(
                652,
                f"{field} = {found!r} is not supported",
                where="config.json",
                fix=f"only {field} = {value!r} is",
            )


def text_inputs(config: Any) -> Inputs:
    """Two tokens."""
    return {"input_ids": np.ones((1, 2), np.int32), "attention_mask": np.ones((1, 2), bool)}


def image_inputs(config: Any) -> Inputs:
    """One picture of the config's size."""
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    channels = getattr(config, "num_channels", 3)
    return {"pixel_values": np.zeros((1, height, width, channels), np.float32)}
