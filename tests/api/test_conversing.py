"""Conversations with models out of folders: prompts, streaming, and the command."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from tiny_folders import folder_of

from mmjax.api.conversing import Conversation, Spoken, Turn
from mmjax.api.generating import generate, texts
from mmjax.api.talkers import talker
from mmjax.cli import main
from mmjax.core.errors import ConfigError, DataError, WeightsError

TEMPLATE = (
    "{% for m in messages %}{{ m['role'][0] + ' ' + m['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}a {% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of("gpt2", tmp_path_factory.mktemp("gpt2"), "", layers=1, eos_token_id=2)


@pytest.fixture(scope="module")
def model(folder):
    return talker(folder)


def test_a_reply_is_what_follows_the_turns(model):
    """Each turn has the end token behind it; what is told in pieces is the whole."""
    talk, pieces = Conversation(model), []
    first = talk.say("c d", pieces.append, max_new_tokens=5, repetition_penalty=2.0)
    assert "".join(pieces) == first
    assert len(pieces) > 1
    second = talk.say("e", max_new_tokens=5, repetition_penalty=2.0)
    ids = model.tokenizer(f"c d </s> {first} </s> e </s>")["input_ids"]
    wanted = generate(
        model.model, {"input_ids": np.array([ids])}, max_new_tokens=5, repetition_penalty=2.0
    )
    assert second == texts(model.model, wanted)[0][0].strip()
    assert [one.role for one in talk.turns] == ["user", "assistant"] * 2
    with pytest.raises(DataError, match="an empty turn"):
        talk.say(" ")
    with pytest.raises(ConfigError, match="takes no image"):
        talk.show("image", b"")
    talk.reset()
    assert talk.turns == []


def test_prompts_of_turns(model, monkeypatch):
    turns = [Turn("user", "c"), Turn("assistant", "d"), Turn("user", "e f")]
    letters = {one: model.tokenizer.convert_tokens_to_ids(one) for one in "abcdefghijklmnopqrstu"}
    c, d, e, f, end = (*(letters[one] for one in "cdef"), 2)
    assert model._ids(turns) == [c, end, d, end, e, f, end]
    config = model.config.replace(max_new_tokens=60)
    assert model._fitting(list(turns), config) == [e, f, end], "64 positions"
    monkeypatch.setattr(model.tokenizer, "chat_template", TEMPLATE)
    a, s, u = (letters[one] for one in "asu")
    told = [Turn("system", "f"), *turns]
    assert model._ids(told) == [s, f, u, c, a, d, u, e, f, a]
    assert model._fitting(told, config.replace(max_new_tokens=58)) == [s, f, u, e, f, a]
    monkeypatch.setattr(model.tokenizer, "chat_template", "{{ raise_exception('no turns') }}")
    with pytest.raises(DataError, match="no turns"):
        model._ids(turns)


def test_text_is_told_once_it_is_sure():
    """Half of a character waits for its other half, and nothing behind the end is told."""
    spelling = {(): "", (1,): " caf\ufffd", (1, 2): " café", (1, 2, 3): " café au"}
    told = []
    stream = Spoken(lambda ids: spelling[tuple(ids)], (9,), told.append)
    for one in ([1], [2], [3], [9], [0]):
        stream(np.array([one]))
    assert told == ["caf", "é", " au"]
    assert stream.end([1, 2, 3, 9, 0]) == "café au"
    assert told == ["caf", "é", " au"]


def _piped(monkeypatch, capsys, lines, *arguments):
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    code = main(["chat", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_command_reads_lines(folder, model, monkeypatch, capsys):
    options = ("--max-new-tokens", "5")
    lines = "c d\n\n/reset\nc d\n/imge x\n/image\n/quit\nnever read\n"
    code, out, err = _piped(monkeypatch, capsys, lines, folder, *options)
    said = model.reply([Turn("user", "c d")], {}, max_new_tokens=5)
    assert out == f"{said}\n{said}\n"
    assert code == 2
    first, second = err.strip().splitlines()
    assert "did you mean '/image'" in first
    assert "without a path" in second
    assert _piped(monkeypatch, capsys, "", folder)[0] == 0


def test_what_does_not_converse(tmp_path, folder, monkeypatch, capsys):
    code, _, err = _piped(monkeypatch, capsys, "", tmp_path / "nowhere")
    assert code == WeightsError.exit_code
    assert "nowhere" in err
    with pytest.raises(ConfigError, match="of runs"):
        talker(folder, retrieve=2)
    bare = folder_of("bart", tmp_path / "bart", "<s> $A </s>", layers=1)
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="tokenizer"):
        talker(bare)
