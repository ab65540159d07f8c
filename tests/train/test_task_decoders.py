"""Tasks whose decoder starts from a Hugging Face folder, from the config to the run."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import tiny_folders
import tiny_run
from tiny_folders import folder_of

import mmjax
from mmjax.api.generating import generate, texts
from mmjax.checkpoint.load import load_arrays
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.data.pipeline import prepare
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig
from mmjax.train.trainer import Trainer
from mmjax.train.warm_start import with_encoders

WORDS = ("a b c", "d e", "f g h i", "k", None, "l m n a")


def config_of(task: Spec, model: ModelConfig, *, step: float = 1e-30, **modalities: Spec) -> Config:
    return Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities=modalities,
            targets={"label": Spec("text", column="said", max_length=6)},
            batch_size=8,
            threads=1,
        ),
        model=model,
        task=task,
        optimizer=OptimizerConfig(name="sgd", learning_rate=step, weight_decay=0.0),
        train=TrainConfig(duration="2 steps", best_metric="loss", evaluate_every="2 steps"),
    )


def rows(count: int = 24) -> dict[str, list[object]]:
    words = [WORDS[i % len(WORDS)] for i in range(count)]
    said = [(one or "b b")[::-1] for one in words]
    return {"words": words, "said": said, "weight": [float(i % 5) for i in range(count)]}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)
    with tiny_run.one_device():
        yield


@pytest.mark.parametrize(
    ("family", "around", "begin", "lead"),
    [
        ("bart", "<s> $A </s>", 2, (0,)),
        pytest.param("mbart", "<s> $A </s>", 2, (0,), marks=pytest.mark.slow),
        pytest.param("marian", "$A </s>", 1, (), marks=pytest.mark.slow),
        pytest.param("t5", "$A </s>", 1, (), marks=pytest.mark.slow),
        pytest.param("mt5", "$A </s>", 1, (), marks=pytest.mark.slow),
    ],
)
def test_what_is_written_at_the_start_is_what_the_folder_writes(
    family, around, begin, lead, tmp_path
):
    """Encoder, decoder, first ids and settings are the folder's."""
    more = {"no_repeat_ngram_size": 2, "eos_token_id": 2, "decoder_start_token_id": begin}
    if lead:
        more["forced_bos_token_id"] = lead[0]
    folder = folder_of(family, tmp_path / "folder", around, layers=1, **more)
    config = config_of(
        Spec("summarization", pretrained=str(folder), decoding={"max_new_tokens": 6}),
        ModelConfig(pretrained={"text": f"{folder}#encoder"}, fusion=Spec("unchanged", width=16)),
        text=Spec("text", column="words", tokenizer=str(folder), max_length=8),
    )
    config = with_encoders(config)
    assert with_encoders(config) == config
    frame = rows()
    kept = [i for i, one in enumerate(frame["words"]) if one]
    frame = {name: [values[i] for i in kept] for name, values in frame.items()}
    dataset = prepare(config.data, frame=frame)
    trainer = Trainer.build(config, dataset)
    trainer.begin()
    options = trainer.config.task.options
    assert (options["begins_with"], options["leads_with"]) == ((begin,), lead)
    assert options["decoding"]["no_repeat_ngram_size"] == 2
    assert config.data.targets["label"].options["tokenizer"] == str(folder)
    found = trainer.evaluator("test")(trainer.state)
    said = trainer.module.task.texts(found.predictions)
    model = mmjax.load_pretrained(folder)
    asked = [frame["words"][row] for row in found.rows]
    wanted = generate(model, asked, max_new_tokens=6, output_scores=True)
    assert said == [row[0] for row in texts(model, wanted)]
    lengths = wanted.lengths[:, 0]
    np.testing.assert_allclose(
        found.predictions["scores"], wanted.scores[:, 0] / lengths, rtol=1e-4, atol=1e-5
    )


def _sees(folder, connector, **options):
    """A picture's numbers and words, of which a language model goes on from the words."""
    return (
        Spec(
            "generative_vqa",
            pretrained=str(folder),
            connector=connector,
            prompt="text",
            decoding={"max_new_tokens": 4},
            **options,
        ),
        ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=8),
                "table": Spec("table", width=8, depth=1, heads=2, mlp_dim=8),
            },
            fusion=Spec("concat", width=8),
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "around", "options"),
    [
        ("gpt2", "", {"reads": "prefix", "connector": "mlp"}),
        ("llama", "<s> $A", {"reads": "prefix", "connector": "linear"}),
        ("llama", "<s> $A", {"connector": "none", "decode_with": Spec("causal_lm", gated_every=1)}),
    ],
    ids=["llava", "llava_llama", "flamingo"],
)
def test_a_frozen_language_model_learns_to_see(family, around, options, tmp_path):
    folder = folder_of(family, tmp_path / family, around, eos_token_id=2)
    task, model = _sees(folder, **options)
    config = config_of(
        task,
        model,
        step=0.1,
        text=Spec("text", column="words", max_length=6),
        table=Spec("table", numbers=("weight",)),
    )
    still = {"^/task/decoder/(?!gated)": 0.0}
    config = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, multipliers=still)
    )
    run = mmjax.train(config, tmp_path / "run", frame=rows())
    arrays = load_arrays(tmp_path / "run", "latest")["params"]["task"]
    theirs = mmjax.load_pretrained(folder).params
    mine = {k: v for k, v in arrays["decoder"].items() if not k.startswith("gated_")}
    jax.tree.map(np.testing.assert_array_equal, mine, dict(theirs))
    learnt = set(arrays) - {"decoder"} or set(arrays["decoder"]) - set(mine)
    assert learnt in ({"connect"}, {"gated_0", "gated_1"})
    shutil.rmtree(folder)
    again = mmjax.load_run(tmp_path / "run")
    (one,) = again.predict({"words": ["a b"], "weight": [1.0]})
    assert one["text"] == again.predict_one(text="a b", weight=1.0)["text"]
    assert {"exact_match", "perplexity"} <= set(run.metrics["test"])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bart", "t5"])
def test_an_encoder_decoder_is_fine_tuned(family, tmp_path):
    around = {"bart": "<s> $A </s>", "t5": "$A </s>"}[family]
    folder = folder_of(family, tmp_path / family, around, eos_token_id=2, decoder_start_token_id=1)
    config = config_of(
        Spec("translation", pretrained=str(folder), decoding={"max_new_tokens": 4, "num_beams": 2}),
        ModelConfig(pretrained={"text": f"{folder}#encoder"}, fusion=Spec("unchanged", width=16)),
        step=0.1,
        text=Spec("text", column="words", tokenizer=str(folder), max_length=6),
    )
    frame = {**rows(), "words": [one or "a" for one in rows()["words"]]}
    run = mmjax.train(config, tmp_path / "run", frame=frame)
    assert {"chrf", "perplexity"} <= set(run.metrics["test"])
    assert set(run.predict_one(text="a b")) == {"text", "score"}
    with pytest.raises(ConfigError, match="which writes no text"):
        with_encoders(
            dataclasses.replace(config, task=config.task.replace(pretrained=f"{folder}#encoder"))
        )


@pytest.mark.slow
def test_a_reader_of_pictures_is_fine_tuned(tmp_path):
    """TrOCR: its encoder for the pictures, its decoder for the task."""
    folder = folder_of("bart", tmp_path / "trocr", "<s> $A </s>", layers=1)
    golden = tiny_folders.PICTURES["trocr"]
    tiny_folders.generation.write_folder(golden["config"], golden["shapes"], folder)
    more = {"decoder_start_token_id": 2, "eos_token_id": 2, "max_new_tokens": 5}
    (folder / "generation_config.json").write_text(json.dumps(more))
    config = config_of(
        Spec("text_recognition", pretrained=str(folder), decoding={"max_new_tokens": 5}),
        ModelConfig(pretrained={"image": f"{folder}#encoder"}, fusion=Spec("unchanged", width=12)),
        image=Spec("image", columns=("picture",), size=8),
    )
    rng = np.random.default_rng(0)
    frame = {
        "picture": [rng.integers(0, 255, (8, 8, 3)).astype(np.uint8) for _ in range(24)],
        "said": rows()["said"],
    }
    run = mmjax.train(config, tmp_path / "run", frame=frame)
    assert {"cer", "perplexity"} <= set(run.metrics["test"])
    model = mmjax.load_pretrained(folder)
    pixels = (np.stack(frame["picture"][:6]) / 255 - 0.5).astype(np.float32) / 0.5
    wanted = texts(model, generate(model, {"pixel_values": pixels}))
    found = run.predict({"picture": frame["picture"][:6]})
    assert [one["text"] for one in found] == [row[0].strip() for row in wanted]
