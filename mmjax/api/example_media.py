"""What makes an example of a report more than its picture: its sounds, and what explains it."""

from __future__ import annotations

import dataclasses
import io
import json
import wave
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.run import Run
from mmjax.core.errors import MMJaxError
from mmjax.data import audio_decoding
from mmjax.data.config import modalities as modality_registry
from mmjax.data.dataset import Dataset
from mmjax.data.modalities.base import Place
from mmjax.report import Example
from mmjax.report.contents import Explained

_RATE, _SECONDS = 8_000, 8.0
_MOST_BYTES = 1_200_000
"""Of sounds, and of explanations, on a page; examples after that have none."""
EXPLANATIONS = "explanations"
"""The folder, in a run's, that `mmjax explain` writes."""


def explained_rows(run: Run) -> list[int]:
    """The rows that `mmjax explain` told of."""
    return sorted(_explanations(run.folder.path / EXPLANATIONS))


def furnished(run: Run, dataset: Dataset, examples: Sequence[Example]) -> list[Example]:
    """The examples with their sounds, and with the explanations that `mmjax explain` wrote."""
    explained = _explanations(run.folder.path / EXPLANATIONS)
    found, spent = [], {"sounds": 0, "pictures": 0}
    for one in examples:
        own = sounds(run, dataset, one.row) if spent["sounds"] < _MOST_BYTES else {}
        spent["sounds"] += sum(map(len, own.values()))
        told = explained.get(one.row, []) if spent["pictures"] < _MOST_BYTES else []
        spent["pictures"] += sum(len(each.picture) for each in told)
        found.append(dataclasses.replace(one, sounds=own, explanations=tuple(told)))
    return found


def sounds(run: Run, dataset: Dataset, row: int) -> dict[str, bytes]:
    """The first seconds of each sound of a row as a small WAV file, by column."""
    found = {}
    for spec in run.config.data.modalities.values():
        if spec.name != "audio":
            continue
        modality: Any = modality_registry.build(spec)
        cell, place = dataset.table.column(modality.column)[row], Place(dataset.table, row)
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        try:
            waveform = audio_decoding.decode_audio(
                cell,
                root=place.root(modality.column),
                where=place.where(modality.column),
                sample_rate=_RATE,
                max_seconds=min(_SECONDS, modality.max_seconds),
                formats=modality.formats,
            )
        except MMJaxError:
            continue
        found[modality.column] = wav(waveform, _RATE)
    return found


def wav(waveform: np.ndarray, rate: int) -> bytes:
    """A WAV file of 16 bits, mono, as loud as it can be without clipping."""
    loudest = max(float(np.abs(waveform).max(initial=0.0)), 1e-9)
    samples = np.round(32_000 * waveform / max(loudest, 0.05)).astype("<i2")
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return stream.getvalue()


def _explanations(folder: Path) -> dict[int, list[Explained]]:
    """By row, what was said of it; nothing where nobody explained."""
    path = folder / "explanations.jsonl"
    found: dict[int, list[Explained]] = defaultdict(list)
    if not path.is_file():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        picture = b""
        if one.get("picture"):
            drawn = (folder / one["picture"]).resolve()
            if drawn.is_relative_to(folder.resolve()) and drawn.is_file():
                picture = drawn.read_bytes()
        found[int(one["row"])].append(Explained(str(one["method"]), _said(one), picture))
    return found


def _said(one: dict[str, Any]) -> str:
    """How much each modality matters, in words."""
    weights = ", ".join(
        f"{name} {value:+.2f}" for name, value in (one.get("modalities") or {}).items() if value
    )
    subject = f"of {one['explained']}" if one.get("explained") else ""
    return f"{subject}: {weights}".strip(": ") if weights else subject
