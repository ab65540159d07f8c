"""Tiny Hugging Face folders that generate, each with a tokenizer whose words are letters."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "generate"))
import generation
import picture_generation

GOLDEN = json.loads(generation.FILE.read_text())
PICTURES = json.loads(picture_generation.FILE.read_text())
LETTERS = [chr(97 + i) for i in range(26)]


def folder_of(
    family: str, folder: Path, around: str, *, layers: int = 2, **settings: object
) -> Path:
    """A tiny model of a family, with a tokenizer whose words are letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    golden = GOLDEN[family]
    config = {**golden["config"], **settings}
    shapes = dict(golden["shapes"])
    if layers == 1:
        for name in (
            "encoder_layers",
            "decoder_layers",
            "num_layers",
            "num_decoder_layers",
            "n_layer",
        ):
            config |= {name: 1} if name in config else {}
        shapes = {k: v for k, v in shapes.items() if not re.search(r"\.(layers|block|h)\.1\.", k)}
    generation.write_folder(config, shapes, folder)
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {one: i for i, one in enumerate([*marks, *LETTERS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    if around:
        ends = [(mark, vocabulary[mark]) for mark in ("<s>", "</s>")]
        made.post_processor = processors.TemplateProcessing(around, special_tokens=ends)
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **named).save_pretrained(str(folder))
    return folder
