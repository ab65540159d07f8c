"""Decoding: tokens one after another, from any module that can be called a step at a time.

- `config.py`: `GenerationConfig`, the settings by Hugging Face's names; also read from folders.
- `engine.py`: `generate`, which buckets the lengths, compiles, runs and streams.
- `decoder.py`: what a model must offer, `Decoder`; `LinenDecoder` makes one of a Linen module.
- `sampling.py`, `beam.py`: the two searches, one token a call. `state.py`: what they share.
- `consensus.py`: of several texts, the one that agrees most with the others.
- `stops.py`: strings that end a row, over the texts of tokens.
- `segments.py`: what the times among Whisper's tokens say.
- `processors.py`, `penalties.py`: what is done to the logits before; `warpers.py`: before a draw.
- `timestamps.py`: a processor for Whisper.

To add a processor: a function of `processors.py`'s type, and a line in `make_processors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mmjax.generate.consensus import consensus

if TYPE_CHECKING:
    from mmjax.generate.config import GenerationConfig
    from mmjax.generate.decoder import Decoder, LinenDecoder
    from mmjax.generate.engine import Generated, generate

_PLACES = {
    "Decoder": "decoder",
    "Generated": "engine",
    "GenerationConfig": "config",
    "LinenDecoder": "decoder",
    "generate": "engine",
}

__all__ = ["Decoder", "Generated", "GenerationConfig", "LinenDecoder", "consensus", "generate"]


def __getattr__(name: str) -> Any:
    # What an exported model says is told without Flax, which the decoders need.
    if name in _PLACES:
        return getattr(importlib.import_module(f"mmjax.generate.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'mmjax.generate' has no attribute '{name}'")
