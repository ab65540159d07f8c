"""Text from pretrained models: `generate`, and the tokens that a model's decoder begins with."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmjax.api.languages import speech_prompt, start_of
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Array, ArrayLike, Int
from mmjax.generate.config import GenerationConfig
from mmjax.generate.decoder import LinenDecoder
from mmjax.generate.engine import Generated, OnTokens, bucket
from mmjax.generate.engine import generate as decode
from mmjax.generate.processors import Processor
from mmjax.generate.stops import texts_of
from mmjax.parallel.sharding import batch_sharding
from mmjax.pretrained.load import Pretrained

Inputs = str | Sequence[str] | Mapping[str, ArrayLike]


def generate(
    encoder: Pretrained,
    inputs: Inputs,
    *,
    prompts: Int[ArrayLike, "b n"] | None = None,
    config: GenerationConfig | None = None,
    language: str | None = None,
    task: str | None = None,
    timestamps: bool = False,
    processors: tuple[Processor, ...] = (),
    key: Array | None = None,
    on_tokens: OnTokens | None = None,
    every: int = 1,
    mesh: Mesh | None = None,
    **settings: Any,
) -> Generated:
    """New tokens of a loaded language model or encoder-decoder.

        model = mmjax.load_pretrained("gpt2")
        found = generate(model, ["Once upon a time"], max_new_tokens=20, num_beams=4)
        texts(model, found)

    `inputs` are texts for the folder's tokenizer, or fields as its processor makes them
    (`input_ids`, `attention_mask`, `input_features`, `pixel_values`). A language model goes on from
    them; an encoder-decoder looks at them and goes on from `prompts`, its start token if None.
    Settings are the folder's (`generation_config.json`, or its config), `config` in place of these,
    and single ones by name over both.

    `language` is what mBART, M2M100 and the like write, or what is spoken to Whisper, which also
    has a `task` ("transcribe" or "translate") and `timestamps`. For the other arguments and errors
    see `mmjax.generate.generate`. Raises ConfigError for a model without a decoder, a language or
    task that it does not have, and settings that are none; DataError for a text without a token.
    `stop_strings` are looked for in what the folder's tokenizer says of each token.
    """
    decoder = LinenDecoder(encoder.module)
    if not hasattr(encoder.module, "decode"):
        raise ConfigError(
            109,
            f"'{encoder.model_type}' has no decoder",
            fix="load a language model or an encoder-decoder, whole",
        )
    config = (settings_of(encoder) if config is None else config).replace(**settings)
    fields = dict(_fields(encoder, inputs))
    mask, context = None, None
    if not hasattr(encoder.module, "encode"):
        prompts, mask = fields["input_ids"], fields.get("attention_mask")
    else:
        rows = len(next(iter(fields.values())))
        if encoder.model_type == "whisper" and prompts is None:
            first, more = speech_prompt(
                encoder, config, language=language, task=task, timestamps=timestamps
            )
            processors = (*more, *processors)
        elif prompts is None:
            first, config = start_of(encoder, config, language)
        prompts = np.tile(first, (rows, 1)) if prompts is None else prompts
        if mesh is not None:
            fields = jax.device_put(fields, batch_sharding(mesh))
        context = encode(encoder, fields)
    return decode(
        decoder,
        encoder.variables,
        prompts,
        config,
        mask=mask,
        context=context,
        key=key,
        processors=processors,
        on_tokens=on_tokens,
        every=every,
        mesh=mesh,
        token_texts=texts_of(tokenizer_of(encoder)) if config.stop_strings else None,
    )


def settings_of(encoder: Pretrained) -> GenerationConfig:
    """How a folder says that its model is decoded."""
    model = encoder.config.to_dict()
    inner = model.get("decoder") or {}
    return GenerationConfig.from_folder(encoder.source, {**inner, **model})


def texts(encoder: Pretrained, generated: Generated) -> list[list[str]]:
    """The texts of each row, without special tokens. Raises ConfigError for no tokenizer."""
    tokenizer = tokenizer_of(encoder)
    return [
        [tokenizer.decode(one, skip_special_tokens=True) for one in row]
        for row in generated.lists()
    ]


def tokenizer_of(encoder: Pretrained) -> Any:
    """The folder's tokenizer. Raises ConfigError if it has none."""
    tokenizer = getattr(encoder.processor, "tokenizer", None)
    if tokenizer is None:
        raise ConfigError(
            110, "the folder has no tokenizer", where=str(encoder.source), fix="read the tokens"
        )
    return tokenizer


def encode(encoder: Pretrained, fields: Mapping[str, ArrayLike]) -> Any:
    """What the encoder of an encoder-decoder makes of its fields, for its decoder to look at."""
    return _encode(encoder.variables, fields, module=encoder.module)


@functools.partial(jax.jit, static_argnames="module")
def _encode(variables: Any, fields: Mapping[str, Array], *, module: Any) -> Any:
    return module.apply(variables, **fields, train=False, method="encode")


def _fields(encoder: Pretrained, inputs: Inputs) -> dict[str, Any]:
    """Fields of the inputs; ids padded to a bucket, so that few programs are compiled."""
    if isinstance(inputs, Mapping):
        fields = {name: np.asarray(value) for name, value in inputs.items()}
    elif encoder.processor is None:
        raise ConfigError(
            110,
            "texts for a folder without a tokenizer",
            where=str(encoder.source),
            fix="give fields: input_ids and attention_mask",
        )
    else:
        fields = encoder.processor(text=[inputs] if isinstance(inputs, str) else list(inputs))
        fields.pop("token_type_ids", None)
    if "input_ids" not in fields:
        return fields
    ids = fields["input_ids"]
    mask = np.asarray(fields.get("attention_mask", np.ones(ids.shape)), bool)
    if not ids.size or not mask.any(axis=1).all():
        raise DataError(
            570,
            "an empty prompt has no token to go on from",
            where=f"row {int(np.argmin(mask.any(axis=1))) if ids.size else 0}",
            fix="give each row a text of a token or more",
        )
    more = bucket(ids.shape[1], getattr(encoder.module, "max_length", None)) - ids.shape[1]
    padded = ((0, 0), (0, max(more, 0)))
    padding = encoder.config.pad_token_id or 0
    fields["input_ids"] = np.pad(ids, padded, constant_values=padding).astype(np.int32)
    fields["attention_mask"] = np.pad(mask, padded)
    return fields
