"""Short forms that write texts, over Hugging Face folders."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_folders
from tiny_folders import folder_of

import mmjax
from mmjax.api.generating import generate, texts
from mmjax.api.writing_pipeline import Writes
from mmjax.core.errors import ConfigError, DataError

SHORT = {"max_new_tokens": 4}


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpt2")
    return mmjax.load_pretrained(folder_of("gpt2", folder, "", layers=1, eos_token_id=2))


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bart")
    params = {"summarization": {"prefix": "c ", "max_new_tokens": 3}, "translation_en_to_de": {}}
    more = {"decoder_start_token_id": 2, "eos_token_id": 2, "task_specific_params": params}
    return mmjax.load_pretrained(folder_of("bart", folder, "<s> $A </s>", layers=1, **more))


def test_a_prompt_and_what_follows_it(language_model):
    write = Writes(language_model, name="text-generation", **SHORT)
    prompts = ["c d e", "f"]
    found = write(prompts)
    wanted = texts(language_model, generate(language_model, prompts, **SHORT))
    for one, row, (more,) in zip(prompts, found, wanted, strict=True):
        assert row[0]["generated_text"].replace(" ", "") == (one + more).replace(" ", "")
        assert row[0]["generated_text"].startswith(one)
    (bare,) = write("f", return_full_text=False)
    assert bare["generated_text"].strip() == wanted[1][0].strip()


def test_turns_go_through_the_template(language_model, monkeypatch):
    write = Writes(language_model, name="text-generation", **SHORT)
    turns = [{"role": "user", "content": "c"}]
    with pytest.raises(ConfigError, match="no chat template"):
        write(turns)
    template = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}e"
    monkeypatch.setattr(write._tokenizer, "chat_template", template)
    (found,) = write(turns)
    assert found["generated_text"][0] == turns[0]
    wanted = write("c e", return_full_text=False)[0]["generated_text"].strip()
    assert found["generated_text"][1] == {"role": "assistant", "content": wanted}
    talk = Writes(language_model, name="conversational", **SHORT)
    assert talk(turns) == [{"generated_text": wanted}]
    with pytest.raises(DataError, match="int is no text"):
        write(3)


def test_what_the_folder_says_of_the_task(bart):
    plain = Writes(bart, name="text2text-generation", **SHORT)
    assert plain(["c a b", "d"]) == [plain("c a b"), plain("d")]
    ids = generate(bart, ["c a b"], max_new_tokens=3)
    summary = Writes(bart, name="summarization")("a b")
    assert summary == [{"summary_text": texts(bart, ids)[0][0].strip()}]
    translate = Writes(bart, name="translation", src_lang="en", tgt_lang="de", **SHORT)
    assert translate("c a b")[0]["translation_text"] == plain("c a b")[0]["generated_text"]
    with pytest.raises(ConfigError, match="did you mean 'translation_en_to_de'"):
        translate("c", tgt_lang="fr")


def test_pictures_are_told_in_words(tmp_path):
    golden = tiny_folders.PICTURES["trocr"]
    folder_of("bart", tmp_path, "", layers=1)
    tiny_folders.generation.write_folder(golden["config"], golden["shapes"], tmp_path)
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    more = {"decoder_start_token_id": 2, "max_new_tokens": 4, "eos_token_id": 2}
    (tmp_path / "generation_config.json").write_text(json.dumps(more))
    picture = np.random.default_rng(0).integers(0, 255, (12, 9, 3)).astype(np.uint8)
    tell = mmjax.pipeline("image-to-text", model=tmp_path)
    (found,) = tell(picture)
    model = tell.model
    wanted = generate(model, model.processor(images=picture))
    assert found == {"generated_text": texts(model, wanted)[0][0].strip()}
    with pytest.raises(ConfigError, match="give an encoder-decoder of texts"):
        mmjax.pipeline("summarization", model=tmp_path)


def test_what_does_not_fit(bart, language_model):
    with pytest.raises(ConfigError, match="did you mean 'num_beams'"):
        Writes(bart, name="summarization", num_beam=3)
    with pytest.raises(ConfigError, match="give a language model"):
        Writes(bart, name="text-generation")
    with pytest.raises(ConfigError, match="encoder of pictures"):
        Writes(language_model, name="image-to-text")
    with pytest.raises(DataError, match="needs its text"):
        Writes(bart, name="summarization")()
    with pytest.raises(ConfigError, match="needs a trained run"):
        mmjax.pipeline("visual-question-answering", model="some/folder")
