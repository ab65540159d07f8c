"""Speech in the turns of a conversation: straight in as tokens, and through a recogniser."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import soundfile
import tiny_media
import tiny_run

import mmjax
from mmjax.api.conversing import Conversation
from mmjax.api.talkers import talker
from mmjax.cli import main
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

sys.path.append(str(Path(__file__).resolve().parents[1] / "generate"))
import speech

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What is replied is the bird that is heard."""
    folder = tmp_path_factory.mktemp("birds")
    path = tiny_media.write_sounds(folder)
    audio = {"sample_rate": tiny_media.RATE, "max_seconds": 0.12, "mel_bins": 16}
    config = Config(
        data=DataConfig(
            source=Spec("csv", path=str(path)),
            modalities={
                "text": Spec("text", column="place", max_length=8),
                "audio": Spec("audio", column="cry", **audio),
            },
            targets={"label": Spec("text", column="bird", max_length=4)},
            batch_size=8,
            threads=1,
            on_bad_sample="quarantine",
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=16),
                "audio": Spec("audio_cnn", channels=(8,), groups=4, width=16),
            },
            fusion=Spec("concat", width=16),
        ),
        task=Spec("dialogue", reads="prefix", width=16, depth=1, heads=2, mlp_dim=16),
        optimizer=OptimizerConfig(learning_rate=5e-3),
        train=TrainConfig(duration="200 steps", evaluate_every="200 steps", best_metric="loss"),
    )
    with tiny_run.one_device():
        yield mmjax.train(config, folder / "run")


def _turns(run, lines, monkeypatch, capsys, *options):
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{one}\n" for one in lines)))
    with tiny_run.one_device():
        assert main(["chat", str(run.folder.path), *options]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_sound_is_heard_with_the_turn(run, tmp_path, monkeypatch, capsys):
    cries = {
        bird: tiny_media.write_sound(tmp_path / f"{bird}.wav", bird, 77)
        for bird in tiny_media.HERTZ
    }
    talk = Conversation(talker(run))
    assert "audio" in talk.talker.media
    for bird, path in cries.items():
        talk.reset()
        talk.show("audio", path.read_bytes())
        assert talk.say("at the edge of tree 1") == bird
        assert run.predict_one(text="at the edge of tree 1", audio=path)["text"] == bird
    lines = [
        one for path in cries.values() for one in (f"/audio {path}", "above the old", "/reset")
    ]
    assert _turns(run, lines, monkeypatch, capsys) == list(cries)


def test_what_the_recogniser_makes_of_a_sound_is_the_turn(run, tmp_path, monkeypatch, capsys):
    golden = json.loads(speech.FILE.read_text())
    folder = tmp_path / "whisper"
    folder.mkdir()
    speech.write_folder(golden["config"], golden["shapes"], folder)
    speech.write_tokenizer(folder)
    path = tmp_path / "said.wav"
    soundfile.write(path, speech.sound(), speech.RATE)
    options = ("--recogniser", str(folder))
    heard, reply = _turns(run, [f"/audio {path}"], monkeypatch, capsys, *options)
    words = mmjax.pipeline("automatic-speech-recognition", model=folder)(path)["text"]
    assert heard == f"heard> {words}"
    assert words
    assert reply == run.predict_one(text=words)["text"]
