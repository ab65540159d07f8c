"""Makes `golden/generate/picture_generation.json` from transformers' torch classes; needs torch.

    python tests/generate/make_picture_generation.py

As `make_generation.py`, whose weights by name these are. Imports nothing of mmjax.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(Path(__file__).resolve().parent)]

import generation  # noqa: E402
import picture_generation as pictures  # noqa: E402


def made(kind: str, decoder: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a folder needs to be written again, and what the torch model generates."""
    import torch
    import transformers
    from safetensors import safe_open

    torch.set_num_threads(1)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(**pictures.VIT), transformers.CONFIG_MAPPING[kind](**decoder)
    )
    cls = transformers.VisionEncoderDecoderModel
    cls(config).save_pretrained(folder)
    with safe_open(str(folder / "model.safetensors"), framework="np") as file:
        shapes = {key: list(file.get_slice(key).get_shape()) for key in list(file.keys())}
    saved = json.loads((folder / "config.json").read_text())
    generation.write_folder(saved, shapes, folder)
    model = cls.from_pretrained(folder, attn_implementation="eager").eval()
    found = {}
    for name, settings in pictures.CASES.items():
        both = {**pictures.COMMON, **settings}
        model.generation_config = transformers.GenerationConfig()
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in both.items()}
        with torch.no_grad():
            tokens = transformers.GenerationMixin.generate(
                model,
                torch.from_numpy(pictures.pictures()),
                generation_config=transformers.GenerationConfig(**plain),
            )
        rows = tokens[:, 1:].tolist()
        found[name] = {
            "settings": both,
            "tokens": [generation.cut(row, both) for row in rows],
        }
    return {"config": saved, "shapes": shapes, "cases": found}


def main() -> None:
    known = {}
    for name, (kind, decoder) in pictures.SIDES.items():
        with tempfile.TemporaryDirectory() as folder:
            known[name] = made(kind, decoder, Path(folder))
    pictures.FILE.write_text(json.dumps(known, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
