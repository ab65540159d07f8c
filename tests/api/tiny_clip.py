"""A small CLIP of random weights, as a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path

import goldens


def write_folder(folder: Path) -> Path:
    """With a tokenizer of whole letters, a to t, and a processor of its picture size."""
    folder = goldens.write_folder(goldens.load("clip"), folder)
    config = json.loads((folder / "config.json").read_text())
    size = config["vision_config"]["image_size"]
    # A text is read at its [SEP].
    config["text_config"]["eos_token_id"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    letters = [chr(97 + i) for i in range(20)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    (folder / "vocab.txt").write_text("\n".join(words))
    settings = {
        "tokenizer_class": "BertTokenizer",
        "model_max_length": 8,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": size},
        "crop_size": {"height": size, "width": size},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
