"""Masked and causal language models on whole encoders, and what is refused."""

import json
from pathlib import Path

import goldens
import jax
import numpy as np
import pandas
import pytest

from mmjax import encoders, metrics, objectives
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.pipeline import prepare
from mmjax.models.pretraining import Pretraining
from mmjax.objectives.base import Context, Encoded
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.pretrained.load import load
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import make_optimizer, make_schedule
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "language_models.npz")
WORDS, MASK = 23, GOLDEN["mask"]
ROWS, LENGTH = MASK.shape
FACTS = {"text": {"vocab_size": WORDS, "mask_id": 4, "special_ids": (0, 1, 2, 3, 4)}}
SEGMENTS = np.zeros(MASK.shape, np.int32)


def nested(weights, names):
    """Head parameters by torch's names, kernels turned."""
    found = {}
    for ours, theirs in names.items():
        *above, last = ours.split("/")
        place = found
        for key in above:
            place = place.setdefault(key, {})
        value = weights[theirs]
        place[last] = value.T if last == "kernel" else value
    return found


def golden(name, folder):
    shapes = {k: tuple(v) for k, v in json.loads(str(GOLDEN[f"{name}_shapes"])).items()}
    case = goldens.Golden(name, json.loads(str(GOLDEN[f"{name}_config"])), shapes, {}, {}, {}, {})
    part = "encoder" if name == "gpt2" else None
    return case.weights(), load(goldens.write_folder(case, folder), part=part)


def batch_of(ids):
    return Batch(
        inputs={"text": {"input_ids": ids, "attention_mask": MASK}},
        present={"text": MASK.any(axis=1)},
        targets={},
        row_mask=np.ones(len(ids), bool),
        row=np.arange(len(ids), dtype=np.int32),
    )


def compare(name, found, gradient):
    loss, grads = found
    assert float(loss) == pytest.approx(float(GOLDEN[f"{name}_loss"]), rel=1e-6)
    for path, theirs in gradient.items():
        ours = grads
        for key in path.split("/"):
            ours = ours[key]
        want = GOLDEN[f"{name}_gradient/{theirs}"]
        want = want.T.reshape(ours.shape) if path.endswith("kernel") else want
        np.testing.assert_allclose(ours, want, rtol=1e-4, atol=2e-6, err_msg=path)


def test_masked_lm_agrees_with_bert(tmp_path):
    """transformers' BertForMaskedLM, whose head is tied; the table's gradient has both parts."""
    weights, encoder = golden("bert", tmp_path)
    predictions = "cls.predictions."
    head = {
        "transform/kernel": f"{predictions}transform.dense.weight",
        "transform/bias": f"{predictions}transform.dense.bias",
        "norm/scale": f"{predictions}transform.LayerNorm.weight",
        "norm/bias": f"{predictions}transform.LayerNorm.bias",
        "bias": f"{predictions}bias",
    }
    params = {"encoder": encoder.params, "objective": {"head": nested(weights, head)}}
    objective = objectives.build("masked_lm", modality_facts=FACTS)
    chosen = GOLDEN["bert_labels"] >= 0
    places = np.argsort(~chosen, axis=1, kind="stable")[:, : chosen.sum(axis=1).max()]
    labels = {
        "places": places.astype(np.int32),
        "ids": np.maximum(np.take_along_axis(GOLDEN["bert_labels"], places, axis=1), 0),
        "mask": np.take_along_axis(chosen, places, axis=1),
    }

    def loss(params):
        fed = {"input_ids": GOLDEN["bert_fed"], "attention_mask": MASK, "token_type_ids": SEGMENTS}
        tokens = encoder.module.apply({"params": params["encoder"]}, **fed, train=False)
        encoded = {objective.request: Encoded(tokens, labels)}
        context = Context(
            batch_of(GOLDEN["ids"]), encoded, None, None, ("text",), lambda _: params["encoder"]
        )
        return objective.apply({"params": params["objective"]}, context, train=False).loss

    compare(
        "bert",
        jax.jit(jax.value_and_grad(loss))(params),
        {
            "encoder/words/embedding": "bert.embeddings.word_embeddings.weight",
            "encoder/transformer/stack/layer_0/attention/query/kernel": (
                "bert.encoder.layer.0.attention.self.query.weight"
            ),
            "objective/head/transform/kernel": head["transform/kernel"],
            "objective/head/norm/scale": head["norm/scale"],
            "objective/head/bias": head["bias"],
        },
    )


def test_causal_lm_agrees_with_gpt2(tmp_path):
    """transformers' GPT2LMHeadModel, in the pretraining assembly."""
    _, encoder = golden("gpt2", tmp_path)
    model = Pretraining(
        encoders={"text": encoder.module},
        objectives={"next": objectives.build("causal_lm", modality_facts=FACTS)},
    )

    def loss(params):
        batch = batch_of(GOLDEN["gpt2_fed"])
        return model.apply({"params": {"encoders_text": params}}, batch, train=False).loss

    found = jax.jit(jax.value_and_grad(loss))(encoder.params)
    compare("gpt2", found, {"words/embedding": "transformer.wte.weight"})


class Named:
    """An encoder, as far as it is looked at before it runs."""

    def __init__(self, causal=None):
        if causal is not None:
            self.causal = causal


BOTH = {"text": Named(), "image": Named()}


@pytest.mark.parametrize(
    ("name", "facts", "options", "wrong"),
    [
        ("masked_lm", {"mask_id": None}, {}, r"no mask_id.*tokenizer.*wordpiece"),
        ("masked_lm", {}, {"whole_words": True}, r"no word_starts.*whole_words=False"),
        ("masked_lm", {}, {"modality": "image"}, r"'image', which has no vocab_size.*name a modal"),
        ("masked_lm", {}, {"modality": "txt"}, r"no modality 'txt'.*'text'"),
        ("masked_lm", {}, {"visible": ("images",)}, r"objectives\.visible.*'image'"),
        ("masked_lm", {}, {"visible": ("text",)}, r"other modalities"),
        ("masked_lm", {}, {"share": 1.5}, r"between 0 and 1"),
        ("causal_lm", {}, {}, r"Named is not causal.*model\.encoders\.text.*causal_encoder"),
        ("causal_lm", {"vocab_size": None}, {}, r"no vocab_size"),
    ],
)
def test_what_cannot_work_is_refused(name, facts, options, wrong):
    known = {"text": {**FACTS["text"], **facts}, "image": {"image_size": 8}}
    objective = objectives.build(name, modality_facts=known, **options)
    with pytest.raises(ConfigError, match=wrong):
        objective.check(BOTH)


def test_what_works_is_not():
    objectives.build("masked_lm", modality_facts=FACTS, visible=("image",)).check(BOTH)
    starts = {"text": {**FACTS["text"], "word_starts": "ffffff"}}
    objectives.build("masked_lm", modality_facts=starts, whole_words=True).check(BOTH)
    causal = objectives.build("causal_lm", modality_facts=FACTS)
    causal.check({"text": Named(causal=True)})
    one_way = {"vocab_size": WORDS, "bidirectional": False}
    causal.check({"text": encoders.build("text_rnn", **one_way)})
    with pytest.raises(ConfigError, match="TextRNN is not causal"):
        causal.check({"text": encoders.build("text_rnn", vocab_size=WORDS)})


@pytest.mark.parametrize("name", ["causal_encoder", "clip_text", "text_rnn"])
def test_encoders_that_say_so_are_causal(name):
    """No state changes with the tokens behind it."""
    options = {"text_rnn": {"bidirectional": False}}.get(name, {"depth": 1, "heads": 2})
    facts = {"vocab_size": WORDS} | ({} if name == "text_rnn" else {"max_length": LENGTH})
    encoder = encoders.build(name, width=8, **facts, **options)
    assert encoder.causal
    ids = np.arange(5, 5 + LENGTH, dtype=np.int32)[None].repeat(2, 0)
    ids[1, 5:] = 6
    mask = np.ones(ids.shape, bool)

    @jax.jit
    def states():
        variables = encoder.init(jax.random.key(0), ids, mask, train=False)
        return encoder.apply(variables, ids, mask, train=False).values

    first, second = states()
    np.testing.assert_array_equal(first[:5], second[:5])
    assert np.abs(first[5:] - second[5:]).max() > 1e-4


def test_a_head_cannot_be_tied_to_nothing():
    small = {"vocab_size": WORDS, "max_length": LENGTH, "width": 8, "depth": 1, "heads": 2}

    def init(**options):
        facts = {"text": {**FACTS["text"], **options.pop("facts", {})}}
        model = Pretraining(
            encoders={"text": encoders.build("causal_encoder", **small | options)},
            objectives={"next": objectives.build("causal_lm", modality_facts=facts)},
        )
        batch = batch_of(GOLDEN["ids"])
        return jax.eval_shape(lambda: model.init(jax.random.key(0), batch, train=False))

    assert "objectives_next" not in init()["params"]
    with pytest.raises(ConfigError, match=r"no single table of 24 words.*tied=False"):
        init(facts={"vocab_size": WORDS + 1})


def test_baselines_count_what_may_be_guessed():
    """Token by token over the rows of a data set, by the rules in plain Python."""
    names = ["red heart", "blue heart", "heart", "red apple pie with a red heart", "apple", "pie"]
    splits = [*["train"] * 3, *["test"] * 2, "validation"]
    frame = pandas.DataFrame({"name": names, "split": splits})
    data = prepare(
        DataConfig(
            source=Spec("frame"),
            modalities={"text": Spec("text", column="name", vocab_size=99, max_length=12)},
            split=SplitConfig(column="split"),
            batch_size=2,
        ),
        frame=frame,
    )
    facts = data.facts["modalities"]
    masked = objectives.build("masked_lm", modality_facts=facts, share=0.3)
    causal = objectives.build("causal_lm", modality_facts=facts)
    encode = data.modalities["text"]._tokenizer.encode

    def hidden(ids):
        text = [token for token in ids if token > 4]
        return [
            (token, min(max(1, round(0.3 * len(ids))), len(text)) / len(text)) for token in text
        ]

    def behind(ids):
        return [(token, 1.0) for token in ids[1:]]

    for objective, guessed in ((causal, behind), (masked, hidden)):
        counts = {}
        for name, split in zip(names, splits, strict=True):
            found = counts.setdefault(split, np.zeros(facts["text"]["vocab_size"]))
            for token, weight in guessed(encode(name).ids):
                found[token] += weight
        want = metrics.unigram(counts["train"], counts["test"])
        assert objective.baseline(data) == pytest.approx(want)


def one_step(model, accumulate):
    """Parameters and loss after a step of plain gradient descent."""
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    config = OptimizerConfig(
        name="sgd", momentum=0.0, learning_rate=1.0, weight_decay=0.0, max_grad_norm=None
    )
    schedule = make_schedule(config, 10, 0)
    optimizer = make_optimizer(config, schedule)
    batch = batch_of(GOLDEN["ids"])
    plan = plan_state(model, optimizer, batch, mesh, seed=0, ema=False)
    options = {"accumulate": accumulate, "total_steps": 10}
    step = make_step(model, optimizer, schedule, mesh, plan.shardings, **options)
    state, values = step(plan.make(), put_batch(batch, mesh))
    return jax.device_get((state.params, values["loss"]))


def test_micro_batches_weigh_as_many_as_their_tokens():
    """Rows of 9, 6, 4 and 9 tokens, two by two, with the head tied to the encoder's words."""
    small = {"vocab_size": WORDS, "max_length": LENGTH, "width": 8, "depth": 1, "heads": 2}
    rates = {"dropout": 0.0, "attention_dropout": 0.0}
    model = Pretraining(
        encoders={"text": encoders.build("causal_encoder", **small, **rates)},
        objectives={"next": objectives.build("causal_lm", modality_facts=FACTS)},
    )
    (ours, loss), (theirs, other) = one_step(model, 1), one_step(model, 2)
    assert float(loss) == pytest.approx(float(other), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), ours, theirs)
