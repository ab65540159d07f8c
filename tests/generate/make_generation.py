"""Makes `golden/generate/generation.json`: what transformers' torch classes generate; needs torch.

    python tests/generate/make_generation.py [FAMILY ...]

Weights are made from their names (`tests/goldens.py`), so a file holds configs, prompts, settings
and the tokens that came out. Imports nothing of mmjax.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(Path(__file__).resolve().parent)]

import generation  # noqa: E402


def model_of(family: generation.Family, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The torch model with weights by name, and what a folder needs to be written again."""
    import torch
    import transformers
    from safetensors import safe_open

    torch.set_num_threads(1)
    cls = getattr(transformers, family.cls)
    model = cls(cls.config_class(**family.config))
    model.save_pretrained(folder)
    with safe_open(str(folder / "model.safetensors"), framework="np") as file:
        shapes = {key: list(file.get_slice(key).get_shape()) for key in list(file.keys())}
    saved = json.loads((folder / "config.json").read_text())
    generation.write_folder(saved, shapes, folder)
    model = cls.from_pretrained(folder, attn_implementation="eager").eval()
    return model, {"config": saved, "shapes": shapes}


def generated(model: Any, family: generation.Family, settings: dict[str, Any]) -> dict[str, Any]:
    import transformers

    both = {**family.common, **settings}
    model.generation_config = transformers.GenerationConfig()
    config = transformers.GenerationConfig(
        **{name: _plain(value) for name, value in both.items()},
        return_dict_in_generate=True,
        output_scores=True,
    )
    inputs = generation.inputs(family)
    rows: list[dict[str, Any]] = [inputs]
    if family.causal:  # each alone: transformers penalises the padding between prompts
        masks = inputs["attention_mask"].astype(bool)
        rows = [
            {"input_ids": ids[mask][None], "attention_mask": np.ones((1, mask.sum()), np.int64)}
            for ids, mask in zip(inputs["input_ids"], masks, strict=True)
        ]
    found = [_one(model, family, config, row) for row in rows]
    scores = [x for _, part in found for x in part]
    return {
        "settings": both,
        "tokens": [generation.cut(row, both) for rows, _ in found for row in rows],
        "scores": [round(x, 5) for x in scores] or None,
    }


def _one(
    model: Any, family: generation.Family, config: Any, inputs: dict[str, np.ndarray]
) -> tuple[list[list[int]], list[float]]:
    import torch
    import transformers

    given = {key: torch.from_numpy(np.array(array)) for key, array in inputs.items()}
    main = given.pop(family.main)
    with torch.no_grad():
        out = transformers.GenerationMixin.generate(model, main, generation_config=config, **given)
    prompt = inputs.get("decoder_input_ids", inputs["input_ids"] if family.causal else None)
    start = 1 if prompt is None else prompt.shape[1]
    scores = getattr(out, "sequences_scores", None)
    return out.sequences[:, start:].tolist(), [] if scores is None else scores.tolist()


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def main(wanted: list[str]) -> None:
    known = json.loads(generation.FILE.read_text()) if generation.FILE.is_file() else {}
    for name in wanted or generation.FAMILIES:
        family = generation.FAMILIES[name]
        with tempfile.TemporaryDirectory() as folder:
            model, found = model_of(family, Path(folder))
            found["cases"] = {
                case: generated(model, family, settings)
                for case, settings in generation.settings_of(family).items()
            }
        known[name] = found
        sys.stdout.write(f"{name}\n")
        generation.FILE.write_text(json.dumps(known, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
