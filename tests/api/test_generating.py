"""Pretrained models generate by one call: settings of the folder, start tokens, languages."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import mmjax
from mmjax.core.errors import ConfigError, DataError

sys.path.append(str(Path(__file__).resolve().parents[1] / "generate"))
import generation

from mmjax.api.generating import generate, settings_of, texts
from mmjax.api.languages import speech_prompt, start_of
from mmjax.generate.timestamps import Timestamps

GOLDEN = json.loads(generation.FILE.read_text())


def loaded(name, folder, **more):
    golden = GOLDEN[name]
    generation.write_folder(golden["config"], golden["shapes"], folder)
    if more:
        (folder / "generation_config.json").write_text(json.dumps(more))
    return mmjax.load_pretrained(folder)


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    settings = GOLDEN["bart"]["cases"]["greedy_penalties"]["settings"]
    return loaded("bart", tmp_path_factory.mktemp("bart"), **settings)


def test_the_folder_says_how_it_is_decoded(bart):
    wanted = GOLDEN["bart"]["cases"]["greedy_penalties"]
    found = generate(bart, generation.inputs(generation.FAMILIES["bart"]))
    assert [row[0] for row in found.lists()] == wanted["tokens"]
    assert settings_of(bart).replace(num_beams=3).num_beams == 3


def test_what_cannot_be_generated(bart, tmp_path):
    with pytest.raises(DataError, match="row 1"):
        generate(bart, {"input_ids": np.ones((2, 3), int), "attention_mask": [[1, 1, 1], [0] * 3]})
    with pytest.raises(ConfigError, match="tokenizer"):
        generate(bart, "words")
    with pytest.raises(ConfigError, match="num_beams"):
        generate(bart, {"input_ids": np.ones((1, 2), int)}, num_beam=2)
    with pytest.raises(ConfigError, match="language='xx'"):
        generate(bart, {"input_ids": np.ones((1, 2), int)}, language="xx")
    with pytest.raises(ConfigError, match="tokenizer"):
        texts(bart, None)
    golden = GOLDEN["bart"]
    generation.write_folder(golden["config"], golden["shapes"], tmp_path)
    part = mmjax.load_pretrained(tmp_path, part="encoder")
    with pytest.raises(ConfigError, match="no decoder"):
        generate(part, {"input_ids": np.ones((1, 2), int)})


WHISPER = {
    "decoder_start_token_id": 2,
    "eos_token_id": 3,
    "lang_to_id": {"<|en|>": 5, "<|fr|>": 6},
    "task_to_id": {"transcribe": 8, "translate": 9},
    "no_timestamps_token_id": 20,
    "max_initial_timestamp_index": 4,
}


def test_whisper_is_told_language_task_and_times(tmp_path):
    many = loaded("whisper", tmp_path / "many", **WHISPER)
    one = loaded(
        "whisper",
        tmp_path / "one",
        **{name: WHISPER[name] for name in WHISPER if name not in ("lang_to_id", "task_to_id")},
    )

    def prompt(model, language=None, task=None, timestamps=False):
        config = settings_of(model)
        return speech_prompt(model, config, language=language, task=task, timestamps=timestamps)

    assert prompt(many, "fr") == ([2, 6, 8, 20], ())
    assert prompt(many, "<|en|>", "translate")[0] == [2, 5, 9, 20]
    assert prompt(many, "en", timestamps=True) == (
        [2, 5, 8],
        (Timestamps(first=21, no_timestamps=20, end=3, latest=4),),
    )
    assert prompt(one)[0] == [2, 20]
    for bad, says in (
        ({"language": "fx"}, "fr"),
        ({"language": "fr", "task": "translat"}, "translate"),
        ({}, "no language"),
    ):
        with pytest.raises(ConfigError, match=says):
            prompt(many, **bad)
    with pytest.raises(ConfigError, match="one language"):
        prompt(one, "en")


def test_a_decoder_starts_with_its_own_token(bart):
    config = settings_of(bart)
    assert start_of(bart, config, None)[0] == [2]
    bare = config.replace(decoder_start_token_id=None)
    assert start_of(bart, bare.replace(bos_token_id=4), None)[0] == [4]
    with pytest.raises(ConfigError, match="decoder_start_token_id"):
        start_of(bart, bare, None)
