"""Makes `golden/generate/speech.json`: what transformers' Whisper says of long sounds; needs torch.

    python tests/generate/make_speech.py

Imports nothing of mmjax.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(Path(__file__).resolve().parent)]

import generation  # noqa: E402
import speech  # noqa: E402
from make_generation import model_of  # noqa: E402


def main() -> None:
    import torch
    import transformers

    torch.set_num_threads(1)
    sound = speech.sound()
    with tempfile.TemporaryDirectory() as name:
        family = generation.FAMILIES["whisper"]
        small = dataclasses.replace(family, config={**family.config, **speech.SMALL})
        _, found = model_of(small, Path(name))
        folder = speech.write_folder(found["config"], found["shapes"], Path(name))
        cls = transformers.WhisperForConditionalGeneration
        model = cls.from_pretrained(folder, attn_implementation="eager").eval()
        extract = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    whole: dict[str, Any] = {"sampling_rate": speech.RATE, "return_tensors": "pt"}
    fields = extract(sound, **whole, truncation=False, padding="longest")
    short = extract(sound[: speech.RATE - 3000], **whole)
    language = model.detect_language(fields["input_features"], num_segment_frames=20)
    found["language"] = int(language[0])
    for case, settings in speech.CASES.items():
        with torch.no_grad():
            out = model.generate(
                fields["input_features"],
                return_timestamps=True,
                return_segments=True,
                temperature=0.0,
                **settings,
            )
        found[case] = [
            [round(float(one["start"]), 2), round(float(one["end"]), 2), one["tokens"].tolist()]
            for one in out["segments"][0]
        ]
        sys.stdout.write(f"{case}: {len(found[case])} segments\n")
    with torch.no_grad():
        out = model.generate(short["input_features"], language="de", max_new_tokens=9)
    found["short"] = out[0].tolist()
    speech.FILE.write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
