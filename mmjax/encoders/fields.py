"""Which of a modality's fields an encoder takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import ArrayLike

_OPTIONAL = ("token_type_ids", "offsets", "seconds")
"""Fields that are made for whoever wants them: of a tokenizer, and of tasks. Masks are none of
these: without its mask an encoder would take padding for data."""


def taken(call: Callable[..., Any]) -> dict[str, bool]:
    """The fields that an encoder's `__call__` takes, and whether it needs them."""
    return {
        name: parameter.default is parameter.empty
        for name, parameter in inspect.signature(call).parameters.items()
        if name not in ("self", "train") and parameter.kind is not parameter.VAR_KEYWORD
    }


def select(
    encoder: nn.Module, fields: Mapping[str, ArrayLike], modality: str
) -> dict[str, ArrayLike]:
    """The fields of a modality that its encoder is to be called with.

    `token_type_ids`, `offsets` and `seconds` are left out where it takes none. Raises ConfigError,
    which names field, modality and encoder, for any other field that it does not take, and one that
    it needs and the modality does not make.
    """
    call = type(encoder).__call__
    known, name = taken(call), type(encoder).__name__
    parameters = inspect.signature(call).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(fields)
    chosen = {key: value for key, value in fields.items() if key in known or key not in _OPTIONAL}
    for key in chosen:
        if key not in known:
            raise ConfigError(
                109,
                f"'{modality}' makes '{key}', which its encoder {name} does not take",
                where=f"model.encoders.{modality}",
                fix=_advice(key, known),
            )
    for key, needed in known.items():
        if needed and key not in chosen:
            raise ConfigError(
                109,
                f"the encoder {name} of '{modality}' needs '{key}', which the modality does not "
                "make",
                where=f"model.encoders.{modality}",
                fix=f"'{modality}' makes {', '.join(fields)}: choose an encoder of these",
            )
    return chosen


def _advice(field: str, known: Mapping[str, bool]) -> str:
    if field == "frame_mask":
        return "a video wants an encoder of videos, such as frames with this one inside"
    return f"choose an encoder that takes it; of the fields of this one, {nearest(field, known)}"
