"""VisionEncoderDecoder and the like: a known encoder before GPT-2 or TrOCR's decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax import encoders
from mmjax.core.errors import WeightsError
from mmjax.core.registry import Spec
from mmjax.pretrained.families import gpt2, trocr
from mmjax.pretrained.families.bart import IGNORED
from mmjax.pretrained.families.clip import below
from mmjax.pretrained.families.vision_text import inner
from mmjax.pretrained.family import Family, Inputs, Names
from mmjax.pretrained.rules import Table, dense


@dataclasses.dataclass(frozen=True)
class _Side:
    """A decoder that looks at an encoder's tokens."""

    spec: Callable[[Any], Spec]
    table: Callable[[Any], Table]
    aliases: Callable[[Any], Mapping[str, str]]
    constants: Callable[[Any], Mapping[str, np.ndarray]] = lambda config: {}


def _gpt2(config: Any) -> Spec:
    options = gpt2.behind_an_encoder(config)
    return Spec("causal_lm", **options, tied=config.tie_word_embeddings)


DECODERS = {
    "gpt2": _Side(_gpt2, gpt2.GPT2_LM.table, gpt2.GPT2_LM.aliases),
    "trocr": _Side(trocr.spec, trocr.table, trocr.aliases, trocr.constants),
}


def _projects(config: Any) -> bool:
    if getattr(config.decoder, "cross_attention_hidden_size", None) is not None:
        return False
    width = getattr(config.encoder, "output_hidden_size", config.encoder.hidden_size)
    return width != config.decoder.hidden_size


def _decoder(config: Any) -> _Side:
    name = config.decoder.model_type
    if name not in DECODERS:
        raise WeightsError(
            652,
            f"a decoder of the model_type {name!r} is not supported here",
            where="config.json",
            fix=f"load the encoder alone, as 'folder#encoder'; decoders can be: {_NAMES}",
        )
    return DECODERS[name]


_NAMES = ", ".join(DECODERS)


def spec(config: Any, names: Names) -> Spec:
    found = frozenset(n.removeprefix("encoder.") for n in names if n.startswith("encoder."))
    return Spec(
        "encoder_decoder",
        encode_with=inner(config.encoder).spec(config.encoder, found),
        decode_with=_decoder(config).spec(config.decoder),
        project=config.decoder.hidden_size if _projects(config) else None,
    )


def table(config: Any) -> Table:
    encoder = inner(config.encoder).table(config.encoder)
    projection = dense("enc_to_dec_proj", "projection") if _projects(config) else []
    return [
        *below(encoder, theirs="encoder.", ours="encoder/"),
        *projection,
        *below(_decoder(config).table(config.decoder), theirs="decoder.", ours="decoder/"),
    ]


def inputs(config: Any) -> Inputs:
    ids = np.ones((1, 2), np.int32)
    return {**inner(config.encoder).inputs(config.encoder), "decoder_input_ids": ids}


def aliases(config: Any) -> Mapping[str, str]:
    sides = {
        "encoder": inner(config.encoder).aliases(config.encoder),
        "decoder": _decoder(config).aliases(config.decoder),
    }
    return {
        f"{side}.{name}": f"{side}.{to}" for side, own in sides.items() for name, to in own.items()
    }


def constants(config: Any) -> Mapping[str, np.ndarray]:
    sides = {
        "encoder": inner(config.encoder).constants(config.encoder),
        "decoder": _decoder(config).constants(config.decoder),
    }
    return {f"{side}.{name}": one for side, own in sides.items() for name, one in own.items()}


def family(model_type: str, saved_as: str) -> Family:
    return Family(
        spec=spec,
        table=table,
        inputs=inputs,
        saved_as=saved_as,
        registry=encoders.decoders,
        ignored=(
            *Family.ignored,
            r".*attn\.(masked_)?bias",
            r".*crossattention\.(masked_)?bias",
            *IGNORED,
        ),
        aliases=aliases,
        constants=constants,
        parts={"encoder": f"{model_type}_encoder"},
    )


def _its(attribute: str) -> Callable[..., Any]:
    return lambda config, *rest: getattr(inner(config), attribute)(config, *rest)


ENCODER = Family(
    spec=_its("spec"),
    table=_its("table"),
    inputs=_its("inputs"),
    saved_as="AutoModel",
    prefix="encoder.",
    aliases=_its("aliases"),
    constants=_its("constants"),
    part_config="encoder",
)
"""The encoder alone, saved as a folder of its own family."""

VISION = family("vision-encoder-decoder", "VisionEncoderDecoderModel")
SPEECH = family("speech-encoder-decoder", "SpeechEncoderDecoderModel")
TEXT = family("encoder-decoder", "EncoderDecoderModel")
