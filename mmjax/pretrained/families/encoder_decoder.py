"""VisionEncoderDecoder and the like: a known encoder before GPT-2 with cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax import encoders
from mmjax.core.errors import WeightsError
from mmjax.core.registry import Spec
from mmjax.pretrained.families import gpt2
from mmjax.pretrained.families.clip import below
from mmjax.pretrained.families.vision_text import inner
from mmjax.pretrained.family import Family, Inputs, Names
from mmjax.pretrained.rules import Table, dense


def _projects(config: Any) -> bool:
    width = getattr(config.encoder, "output_hidden_size", config.encoder.hidden_size)
    return width != config.decoder.hidden_size


def _check(config: Any) -> None:
    if config.decoder.model_type != "gpt2":
        raise WeightsError(
            652,
            f"a decoder of the model_type {config.decoder.model_type!r} is not supported here",
            where="config.json",
            fix="load the encoder alone, as 'folder#encoder'; decoders can be: gpt2",
        )


def spec(config: Any, names: Names) -> Spec:
    found = frozenset(n.removeprefix("encoder.") for n in names if n.startswith("encoder."))
    tied = config.decoder.tie_word_embeddings
    return Spec(
        "encoder_decoder",
        encode_with=inner(config.encoder).spec(config.encoder, found),
        decode_with=Spec("causal_lm", **gpt2.behind_an_encoder(config.decoder), tied=tied),
        project=config.decoder.hidden_size if _projects(config) else None,
    )


def table(config: Any) -> Table:
    _check(config)
    encoder = inner(config.encoder).table(config.encoder)
    projection = dense("enc_to_dec_proj", "projection") if _projects(config) else []
    return [
        *below(encoder, theirs="encoder.", ours="encoder/"),
        *projection,
        *below(gpt2.GPT2_LM.table(config.decoder), theirs="decoder.", ours="decoder/"),
    ]


def inputs(config: Any) -> Inputs:
    ids = np.ones((1, 2), np.int32)
    return {**inner(config.encoder).inputs(config.encoder), "decoder_input_ids": ids}


def aliases(config: Any) -> Mapping[str, str]:
    sides = {
        "encoder": inner(config.encoder).aliases(config.encoder),
        "decoder": gpt2.GPT2_LM.aliases(config.decoder),
    }
    return {
        f"{side}.{name}": f"{side}.{to}" for side, own in sides.items() for name, to in own.items()
    }


def constants(config: Any) -> Mapping[str, np.ndarray]:
    own = inner(config.encoder).constants(config.encoder)
    return {f"encoder.{name}": array for name, array in own.items()}


def family(model_type: str, saved_as: str) -> Family:
    return Family(
        spec=spec,
        table=table,
        inputs=inputs,
        saved_as=saved_as,
        registry=encoders.decoders,
        ignored=(*Family.ignored, r".*attn\.(masked_)?bias", r".*crossattention\.(masked_)?bias"),
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
