"""A dialogue run in conversation: a language model with LoRA that sees pictures and old turns."""

from __future__ import annotations

import io
import sys

import numpy as np
import PIL.Image
import pytest
import tiny_run
from tiny_folders import folder_of

import mmjax
from mmjax.api.conversing import Conversation, Turn
from mmjax.api.talkers import talker
from mmjax.api.talking_runs import RunTalker
from mmjax.cli import main
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

pytestmark = pytest.mark.slow
LETTERS = "abcdefgh"


def _data(folder):
    rng = np.random.default_rng(0)
    lines = ["turn,picture,reply"]
    for index in range(24):
        pixels = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{index}.png")
        one, two = LETTERS[index % 8], LETTERS[(index + 3) % 8]
        lines.append(f"{one} {two},{index}.png,{two} {one}")
    path = folder / "talk.csv"
    path.write_text("\n".join([*lines, ""]))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talk")
    model = folder_of("gpt2", folder / "gpt2", "", layers=1, eos_token_id=2)
    config = Config(
        data=DataConfig(
            source=Spec("csv", path=str(_data(folder))),
            modalities={
                "text": Spec("text", column="turn", max_length=8),
                "image": Spec("image", columns=("picture",), size=8),
            },
            targets={"label": Spec("text", column="reply", max_length=4)},
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=8),
                "image": Spec("image_cnn", channels=(8,), blocks=(0,), groups=4, width=8),
            },
            fusion=Spec("concat", width=8),
        ),
        task=Spec(
            "dialogue", pretrained=str(model), reads="prefix", connector="mlp", prompt="text"
        ),
        adapt={"lora": Spec("lora", rank=2, targets=("^task/decoder/.*/(query|value)$",))},
        optimizer=OptimizerConfig(learning_rate=0.1, multipliers={"^/task/connect": 1.0}),
        train=TrainConfig(duration="6 steps", best_metric="loss", evaluate_every="6 steps"),
    )
    with tiny_run.one_device():
        yield mmjax.train(config, folder / "run")


def test_replies_are_those_of_predictions(run, tmp_path):
    """Through the adapters, with a picture and without; what comes in pieces is the whole."""
    talk, pieces = Conversation(talker(run)), []
    assert talk.talker.media == ("image",)
    said = talk.say("a d", pieces.append)
    assert said == run.predict_one(text="a d")["text"].strip()
    assert "".join(pieces) == said
    talk.reset()
    pixels = np.full((8, 8, 3), 200, np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    talk.show("image", (tmp_path / "a.png").read_bytes())
    assert talk.say("a d") == run.predict_one(text="a d", image=tmp_path / "a.png")["text"].strip()


def test_old_turns_stand_before_the_new_one(run, monkeypatch):
    knowing = RunTalker(run, retrieve=2)
    dataset = run.dataset(labels=True)
    row = int(dataset.rows("train")[0])
    turns = dataset.table.column("turn")
    found = knowing._nearest(turns[row])
    assert len(found) == 4
    assert found[2] == turns[row], "the nearest is last"
    given = []
    monkeypatch.setattr(RunTalker, "_batch", lambda self, inputs: given.append(inputs) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        knowing.reply([Turn("user", turns[row])], {})
    assert given[0]["text"] == " ".join([*found, turns[row]])


def test_the_command_shows_pictures(run, tmp_path, monkeypatch, capsys):
    PIL.Image.new("RGB", (8, 8), (10, 200, 30)).save(tmp_path / "a.png")
    lines = f"/image {tmp_path / 'a.png'}\na d\n/image nowhere.png\n/audio x.wav\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    with tiny_run.one_device():
        code = main(["chat", str(run.folder.path)])
    out, err = capsys.readouterr()
    assert code == 2
    assert out.strip() == run.predict_one(text="a d", image=tmp_path / "a.png")["text"].strip()
    assert "nowhere.png" in err
    with pytest.raises(ConfigError, match="modality=NAME"):
        RunTalker(run, modality="picture")
