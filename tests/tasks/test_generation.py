"""Tasks that write texts: the loss, decoding against a loop without a cache, metrics, and runs."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import tiny_run

import mmjax
from mmjax import metrics, tasks
from mmjax.api.conversing import Conversation, Turn
from mmjax.api.talkers import talker
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Fused
from mmjax.data.config import DataConfig
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.text import WrittenText
from mmjax.models.config import ModelConfig
from mmjax.tasks.writing import seen_of
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

NAMES = ("red ball", "a green ball", "blue", "old red box", "new box", "a box")
TABLE = Table(columns={"name": list(NAMES)}, name="t", fingerprint="f")
PROCESSOR = WrittenText("name", tokenizer="characters", max_length=12).fit(TABLE, np.arange(6))
WRITERS = sorted(
    ("captioning", "dialogue", "generative_vqa", "summarization", "text_recognition", "translation")
)
SMALL = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 16}


def _task(name="captioning", **options):
    return tasks.registry.build(Spec(name, **{**SMALL, **options}), facts=PROCESSOR.facts)


def _fused() -> Fused:
    """Three tokens of text and two of a picture; the first row has no text, the last nothing."""
    values = np.random.default_rng(0).normal(size=(6, 5, 8)).astype(np.float32)
    mask = np.ones((6, 5), bool)
    mask[0, :3] = mask[1, 2] = mask[5] = False
    spans = {"text": (0, 3), "image": (3, 5)}
    return Fused(jnp.asarray(values), jnp.asarray(mask), jnp.zeros((6, 8)), spans)


def _batch(*, known=True) -> Batch:
    ids = [PROCESSOR.encode(one, Place(TABLE, i)) for i, one in enumerate(NAMES)]
    labels = {"label": PROCESSOR.collate(ids)} if known else {}
    return Batch({}, {}, labels, np.arange(6) != 4, np.arange(6))


@functools.cache
def _variables(**options):
    init = jax.jit(functools.partial(_task(**options).init, train=False))
    variables = init(jax.random.key(0), _fused(), _batch())
    # Larger than they are at first, so that words differ in their chances.
    return jax.tree.map(lambda x: 3.0 * x, variables)


def test_loss_and_gradient():
    task, variables, batch = _task(label_smoothing=0.1), _variables(), _batch()
    labels = np.asarray(batch.targets["label"])
    words = np.concatenate(
        [np.full((6, 1), PROCESSOR.facts["start_id"]), np.maximum(labels[:, :-1], 0)], axis=1
    )
    counts = (labels >= 0) & np.asarray(batch.row_mask)[:, None]

    def logits_of(module, fused):
        seen = seen_of(fused, before=(), as_prefix=False)
        return module.decoder(jnp.asarray(words), train=False, **seen).logits

    @jax.jit
    def both(values):
        fused = dataclasses.replace(_fused(), values=values)
        smooth = task.apply(variables, fused, batch, train=True)
        plain = task.apply(variables, fused, batch, train=False)
        return smooth, plain, task.apply(variables, fused, method=logits_of)

    def mean(logits, smoothing):
        log_p = np.log(reference.softmax(np.asarray(logits, np.float64)))
        own = np.take_along_axis(log_p, np.maximum(labels, 0)[..., None], axis=-1)[..., 0]
        losses = -(1 - smoothing) * own - smoothing * log_p.mean(axis=-1)
        return losses[counts].mean()

    values = _fused().values
    smooth, plain, logits = both(values)
    assert float(smooth.loss) == pytest.approx(mean(logits, 0.1), rel=1e-5)
    assert float(plain.loss) == pytest.approx(mean(logits, 0.0), rel=1e-5)
    assert float(plain.weight) == counts.sum()
    found = task.compute({k: np.asarray(v) for k, v in plain.metrics.items()})
    right = np.asarray(logits).argmax(axis=-1) == labels
    assert found["token_accuracy"] == pytest.approx(right[counts].mean())
    assert found["perplexity"] == pytest.approx(np.exp(mean(logits, 0.0)), rel=1e-5)
    assert set(task.compute({k: np.asarray(v) for k, v in smooth.metrics.items()})) == {
        "token_accuracy"
    }
    grads = jax.jit(
        jax.grad(
            lambda x: (
                task.apply(
                    variables, dataclasses.replace(_fused(), values=x), batch, train=True
                ).loss
            )
        )
    )(values)
    step = np.random.default_rng(1).normal(size=values.shape).astype(np.float32)
    ahead, behind = (mean(both(values + s * 1e-3 * step)[2], 0.1) for s in (1, -1))
    assert float((grads * step).sum()) == pytest.approx((ahead - behind) / 2e-3, rel=2e-2)


@pytest.mark.parametrize("options", [{"before": ("text",)}, {"reads": "prefix"}], ids=str)
def test_what_is_written_is_the_likeliest_word_each_time(options):
    task, variables = _task(**options), _variables(**options)
    fused = _fused()
    found = jax.jit(functools.partial(task.apply, train=False))(
        variables, fused, _batch(known=False)
    )
    assert float(found.loss) == 0.0
    assert not found.metrics

    def step(module, words):
        as_prefix = module.reads == "prefix"
        seen = seen_of(fused, before=module.before, as_prefix=as_prefix)
        return jax.nn.log_softmax(module.decoder(words, train=False, **seen).logits)

    at = jax.jit(lambda words: task.apply(variables, words, method=step))
    facts = PROCESSOR.facts
    words = np.full((6, 12), facts["pad_id"])
    words[:, 0] = facts["start_id"]
    going, sums, lengths = np.ones(6, bool), np.zeros(6), np.zeros(6)
    for place in range(12):
        log_p = np.asarray(at(jnp.asarray(words)))[:, place]
        best = np.where(going, log_p.argmax(axis=1), facts["pad_id"])
        sums += np.where(going, log_p.max(axis=1), 0.0)
        lengths += going
        if place < 11:
            words[:, place + 1] = best
        np.testing.assert_array_equal(np.asarray(found.predictions["ids"])[:, place], best)
        going &= best != facts["end_id"]
    np.testing.assert_array_equal(found.predictions["lengths"], lengths)
    np.testing.assert_allclose(found.predictions["scores"], sums / lengths, rtol=1e-4)


def test_a_language_model_goes_on_from_a_prompt_behind_a_prefix():
    """The likeliest word each time, given all before it at once; prompts differ in length."""
    still = {"dropout": 0.0, "attention_dropout": 0.0, "positions": "rotary"}
    task = _task(
        "generative_vqa",
        reads="prefix",
        prompt="text",
        connector="mlp",
        decode_with=Spec("causal_lm", **SMALL, **still),
        decoding={"max_new_tokens": 4},
        begins_with=(2, 3),
    )
    rng = np.random.default_rng(3)
    ids = jnp.asarray(rng.integers(5, 12, (6, 3)), jnp.int32)
    known = np.array([3, 2, 1, 3, 2, 1])[:, None] > np.arange(3)
    prompt = {"input_ids": ids, "attention_mask": jnp.asarray(known)}
    batch = dataclasses.replace(_batch(), inputs={"text": prompt})
    variables = reference.random_variables(task, _fused(), batch, train=False)
    assert set(variables["params"]) == {"decoder", "connect"}

    def step(module, words):
        fused = module.connect(_fused())
        seen = seen_of(fused, before=(), as_prefix=True, without=("text",))
        # The first row has no text that may be seen, the last no modality at all.
        shown = jnp.asarray(known) & jnp.asarray([False, *[True] * 4, False])[:, None]
        mask = jnp.concatenate([shown, jnp.ones_like(words, bool)], axis=1)
        places = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
        whole = jnp.concatenate([ids, words], axis=1)
        found = module.decoder.decode(whole, None, mask, places, train=False, **seen)
        return jax.nn.log_softmax(found.logits[:, 3:])

    @jax.jit
    def both(variables, words):
        return (
            task.apply(variables, _fused(), batch, train=False),
            task.apply(variables, words, method=step),
        )

    words = np.zeros((6, 13), np.int32)
    words[:, :2] = 2, 3
    labels = np.asarray(batch.targets["label"])
    true = np.where(labels < 0, 0, labels)
    words[:, 2:] = true[:, :11]
    found, log_p = both(variables, jnp.asarray(words))
    counts = (labels >= 0) & np.asarray(batch.row_mask)[:, None]
    own = np.take_along_axis(np.asarray(log_p)[:, 1:], true[..., None], axis=2)[..., 0]
    assert float(found.loss) == pytest.approx(-own[counts].mean(), rel=1e-5)
    going = np.ones(6, bool)
    for place in range(4):
        log_p = np.asarray(both(variables, jnp.asarray(words))[1])[:, place + 1]
        best = np.where(going, log_p.argmax(axis=1), PROCESSOR.facts["pad_id"])
        words[:, place + 2] = best
        np.testing.assert_array_equal(np.asarray(found.predictions["ids"])[:, place], best)
        going &= best != PROCESSOR.facts["end_id"]
    assert going.any()


def test_decoders_that_cannot_see_what_they_are_shown():
    small = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 16}
    for decoder, options, why in (
        ("bart", {"reads": "prefix"}, "no prefix"),
        ("causal_lm", {}, "gated_every"),
        ("causal_lm", {"reads": "prefix"}, "connector='linear'"),
        ("ctc", {}, "decodes no text"),
        ("bart", {"connector": "linear", "prompt": "text"}, "no prompt"),
    ):
        if decoder == "ctc":
            given = Spec("ctc", tower=Spec("wav2vec2"))
        else:
            given = Spec(decoder, **small, max_length=40)
        task = _task(decode_with=given, **options)
        with pytest.raises(ConfigError, match=why):
            jax.eval_shape(
                lambda task=task: task.init(jax.random.key(0), _fused(), _batch(), train=False)
            )
    few = _task(decode_with=Spec("bart", **small, vocab_size=3), connector="linear")
    with pytest.raises(ConfigError, match="belongs to the weights"):
        jax.eval_shape(lambda: few.init(jax.random.key(0), _fused(), _batch(), train=False))


def test_texts_of_ids():
    task = _task()
    ids = np.asarray(_batch().targets["label"])
    lengths = (ids >= 0).sum(axis=1)
    predictions = {"ids": ids, "lengths": lengths, "scores": np.linspace(-1, 0, 6)}
    found = task.decode(predictions)
    assert [one["text"] for one in found] == list(NAMES)
    assert found[0]["score"] == -1.0
    assert task.evaluate(predictions, {}) == {}
    texts = {"label/references": [(one,) for one in NAMES]}
    assert task.evaluate(predictions, {}, texts)["exact_match"] == 1.0


@pytest.mark.parametrize(
    "decoding",
    [{"num_beams": 3, "num_return_sequences": 3}, {"do_sample": True, "num_return_sequences": 3}],
    ids=("beams", "draws"),
)
def test_of_several_texts_a_row_has_the_one_that_agrees_most(decoding):
    task = _task(decoding={**decoding, "max_new_tokens": 6})
    write = jax.jit(functools.partial(task.apply, train=False))
    found = jax.device_get(write(_variables(), _fused(), _batch(known=False)).predictions)
    assert found["ids"].shape == (6, 3, 6)
    assert found["lengths"].shape == found["scores"].shape == (6, 3)
    said = task.decode(found)
    assert any(len(set(one["texts"])) > 1 for one in said)
    for row, one in enumerate(said):
        weights = np.ones(3)
        if "num_beams" in decoding:
            weights = np.exp(np.asarray(found["scores"][row] * found["lengths"][row], np.float64))
        worth = [
            sum(w * metrics.chrf([a], [b]) for w, b in zip(weights, one["texts"], strict=True))
            for a in one["texts"]
        ]
        place = int(np.argmax(worth))
        assert one["text"] == one["texts"][place]
        assert one["score"] == pytest.approx(float(found["scores"][row, place]))
    assert task.texts(found) == [one["text"] for one in said]


def test_settings_that_are_wrong():
    for options, why in (
        ({"decoding": {"num_beam": 2}}, "num_beams"),
        ({"decoding": {"eos_token_id": 2}}, "tokenizer's"),
        ({"decoding": {"max_new_tokens": 13}}, "max_new_tokens=13"),
        ({"before": ("sound",)}, "sound"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
    ):
        task = _task(**options)
        variables, write = _variables(), functools.partial(task.apply, train=False)
        with pytest.raises(ConfigError, match=why):
            jax.eval_shape(write, variables, _fused(), _batch())
    with pytest.raises(ConfigError, match="kind text"):
        tasks.build("captioning").init(jax.random.key(0), _fused(), _batch(), train=False)
    with pytest.raises(ConfigError, match="concat"):
        _task().head_outputs(_fused(), train=False)


def test_each_task_judges_by_its_metrics():
    said, true = ["red box", "a blue ball"], [("red box",), ("blue ball", "a ball")]
    judged = {name: _task(name).judge(said, true, None) for name in WRITERS}
    exact = metrics.exact_match(said, true)
    assert judged["captioning"] == {**metrics.captions(said, true), "exact_match": exact}
    assert judged["translation"] == {**metrics.translation(said, true), "exact_match": exact}
    assert judged["summarization"] == metrics.summaries(said, true)
    assert judged["dialogue"] == metrics.dialogue(said, true)
    first = [row[0] for row in true]
    assert judged["text_recognition"] == {**metrics.speech(said, first), "exact_match": exact}
    assert judged["generative_vqa"]["exact_match"] == 1.0
    by_group = _task("generative_vqa").judge(said, true, ["x", "y"])
    # One of two annotators says "blue ball": of the other one alone, all and none.
    assert by_group["vqa_accuracy/x"] == 1.0
    assert by_group["vqa_accuracy/y"] == pytest.approx(0.5)
    found = _task("translation").judge(said, true, ["de", "fr"])
    assert {"bleu_de", "chrf_fr", "macro_chrf"} <= set(found)
    for name in WRITERS:
        assert set(_task(name).headline) <= {*judged[name], "perplexity"}


def _train(folder, task, target, **modalities):
    rows = 24
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 6, rows)
    columns = {
        "name": [NAMES[kind] for kind in kinds],
        "words": [None if i % 7 == 3 else NAMES[k][::-1] for i, k in enumerate(kinds)],
        "weight": [None if i % 5 == 4 else float(k) for i, k in enumerate(kinds)],
        "language": [("de", "fr")[i % 2] for i in range(rows)],
    }
    config = Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities=modalities,
            targets={"label": target},
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                name: Spec("bag_of_subwords", width=8)
                if one.name == "text"
                else Spec("table", width=8, depth=1, heads=2, mlp_dim=8)
                for name, one in modalities.items()
            },
            fusion=Spec("concat", width=8),
        ),
        task=Spec(task, **SMALL, **_more(task)),
        optimizer=OptimizerConfig(learning_rate=1e-2),
        train=TrainConfig(
            duration="2 steps",
            evaluate_every="2 steps",
            save_every="2 steps",
            best_metric="chrf",
        ),
    )
    return mmjax.train(config, folder, frame=columns), columns


def _more(task):
    if task == "translation":
        return {"before": ("language",), "decoding": {"num_beams": 2, "max_new_tokens": 6}}
    return {"decoding": {"max_new_tokens": 6}}


def _converses(run):
    """A reply is what `predict_one` gives of the turns in a row."""
    one = talker(run)
    turns = [Turn("user", "llab"), Turn("assistant", "der")]
    wanted = run.predict_one(words="llab der")["text"]
    told = []
    assert one.reply(turns, {}, told.append) == wanted.strip()
    assert told == [wanted.strip()]
    with pytest.raises(ConfigError, match="takes no image"):
        Conversation(one).show("image", b"")


@pytest.mark.parametrize(
    "task", ["translation", pytest.param("captioning", marks=pytest.mark.slow)]
)
def test_a_run(task, tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    also = ("language",) if task == "translation" else ()
    target = Spec("text", column="name", also=also, tokenizer="characters", max_length=12)
    more = {"language": Spec("table", categories=("language",))} if also else {}
    with tiny_run.one_device():
        run, columns = _train(
            tmp_path / "run",
            task,
            target,
            text=Spec("text", column="words", tokenizer="subwords", buckets=16),
            table=Spec("table", numbers=("weight",)),
            **more,
        )
        found = run.evaluate(columns)
        said = run.predict({"words": ["llab der"], "weight": [None], "language": ["de"]})
        alone = run.predict_one(words="llab der", **({"language": "de"} if also else {}))
        _converses(run)
    assert {"chrf", "exact_match", "perplexity", "token_accuracy"} <= set(found)
    assert ("bleu_de" in found) == bool(also)
    assert set(alone) == {"text", "score"}
    assert alone["text"] == said[0]["text"]
    assert len(alone["text"]) <= 6
    assert alone["score"] == pytest.approx(said[0]["score"], rel=1e-4)
    written = [one["text"] for one in run.predict(columns)]
    judged = metrics.chrf(written, columns["name"])
    assert found["chrf"] == pytest.approx(judged)
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "chrf" in stored["test"]
    assert (tmp_path / "run" / "report.html").is_file()
