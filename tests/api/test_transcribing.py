"""Whisper on sounds of any length: what transformers says of them, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import mmjax
from mmjax.core.errors import ConfigError, DataError

sys.path.append(str(Path(__file__).resolve().parents[1] / "generate"))
import speech

from mmjax.api.transcribing import detect_language, transcribe

GOLDEN = json.loads(speech.FILE.read_text())
SOUND = speech.sound()


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    speech.write_folder(GOLDEN["config"], GOLDEN["shapes"], folder)
    speech.write_tokenizer(folder)
    return mmjax.load_pretrained(folder)


def words(tokens):
    return [f"w{one}" for one in tokens if one < 20 and one not in speech.SPECIAL]


@pytest.mark.parametrize(
    "case",
    [pytest.param(one, marks=pytest.mark.slow if one == "told" else ()) for one in speech.CASES],
)
def test_windows_say_what_transformers_says(case, whisper):
    segments = []
    found = transcribe(whisper, SOUND, **speech.CASES[case], on_segment=segments.append)
    assert [[one.start, one.end, list(one.tokens)] for one in found.segments] == GOLDEN[case]
    assert tuple(segments) == found.segments
    codes = {"heard": {5: "en", 6: "de"}[GOLDEN["language"]], "named": "de"}
    assert found.language == codes.get(case, "en")
    assert found.text.split() == [one for row in GOLDEN[case] for one in words(row[2])]
    assert [one.text.split() for one in found.segments] == [words(row[2]) for row in GOLDEN[case]]


def test_the_language_is_the_likeliest(whisper):
    likely = detect_language(whisper, {"array": SOUND, "sampling_rate": speech.RATE})
    assert sum(likely.values()) == pytest.approx(1)
    assert max(likely, key=likely.get) == {5: "en", 6: "de"}[GOLDEN["language"]]


@pytest.mark.slow
def test_one_window_without_times(whisper):
    short = SOUND[: speech.RATE - 3000]
    found = transcribe(whisper, short, language="de", max_new_tokens=9)
    assert [list(one.tokens) for one in found.segments] == [GOLDEN["short"]]
    assert found.text.split() == words(GOLDEN["short"])
    assert (found.segments[0].start, found.segments[0].end) == (0.0, 0.16)


@pytest.mark.slow
def test_a_window_in_doubt_is_decoded_again_at_the_next_temperature(whisper):
    settings = {"language": "en", "temperature": (0.0, 0.4, 0.8)}
    firm = transcribe(whisper, SOUND, **settings, logprob_threshold=-9.0)
    assert {one.temperature for one in firm.segments} == {0.0}
    never = transcribe(whisper, SOUND, **settings, logprob_threshold=0.0)
    assert {one.temperature for one in never.segments} == {0.8}
    again = transcribe(whisper, SOUND, **settings, logprob_threshold=0.0)
    assert again == never


def test_what_is_not_transcribed(whisper):
    for options, says in (
        ({"language": "germn"}, "german"),
        ({"language": "fr"}, "language='fr'"),
        ({"language": "de", "task": "translat"}, "translate"),
        ({"timestamps": False}, "timestamps=True"),
        ({"num_beam": 2}, "num_beams"),
        ({"temperature": -0.1}, "temperature"),
        ({"no_speech_threshold": 0.5}, "logprob_threshold"),
    ):
        with pytest.raises(ConfigError, match=says):
            transcribe(whisper, SOUND, **options)
    for sound, says in (
        (np.zeros(0, np.float32), "no samples"),
        (np.full(9, np.nan, np.float32), "not finite"),
        ("nowhere.wav", "nowhere.wav"),
    ):
        with pytest.raises(DataError, match=says):
            transcribe(whisper, sound, language="en")


def test_other_models_do_not_transcribe(whisper):
    part = mmjax.load_pretrained(whisper.source, part="encoder")
    with pytest.raises(ConfigError, match="does not transcribe"):
        transcribe(part, SOUND)


def test_the_short_form(whisper):
    hear = mmjax.pipeline("automatic-speech-recognition", model=whisper.source, language="en")
    cell = {"array": SOUND, "sampling_rate": speech.RATE}
    found = hear(cell, language="german", task="translate", return_timestamps=True)
    wanted = GOLDEN["named"]
    times = [list(one["timestamp"]) for one in found["chunks"]]
    assert times == [row[:2] for row in wanted]
    assert hear([cell], language="german", task="translate") == [{"text": found["text"]}]
