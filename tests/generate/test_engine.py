"""The loop, on a decoder without layers: lengths, programs, ends, streaming, draws."""

import functools
import itertools
import re

import jax
import numpy as np
import pytest
from chain import TABLES, Chain, V, greedy, log_probabilities, logits_of

from mmjax.core.errors import ConfigError, DataError
from mmjax.encoders.causal_lm import CausalLM
from mmjax.generate import GenerationConfig, LinenDecoder, engine, generate
from mmjax.parallel.sharding import unbox

ROWS = [[1, 2, 3, 4, 5], [3], [2, 2, 4]]
LEFT = np.array([[0] * (5 - len(row)) + row for row in ROWS])
RIGHT = np.array([row + [0] * (5 - len(row)) for row in ROWS])
RAGGED = np.array([[1] * len(row) + [0] * (5 - len(row)) for row in ROWS])


CHAIN = Chain()


def run(prompts=RIGHT, mask=RAGGED, *, decoder=CHAIN, further=None, **settings):
    return generate(
        decoder, TABLES, prompts, GenerationConfig(**settings), mask=mask, **(further or {})
    )


def test_ragged_prompts_give_what_each_gives_alone_on_either_side():
    wanted = [[greedy(row, 7)] for row in ROWS]
    assert run(max_new_tokens=7).lists() == wanted
    assert run(LEFT, RAGGED[:, ::-1], max_new_tokens=7).lists() == wanted


def test_lengths_within_a_bucket_compile_nothing():
    run(max_new_tokens=5)
    before = engine.begin._cache_size(), engine.proceed._cache_size()
    for new in (6, 7, 8):
        found = run(RIGHT, RAGGED, max_new_tokens=new)
        assert found.lists() == [[greedy(row, new)] for row in ROWS]
    row = np.tile([4, 1, 5, 2, 3, 1], (3, 1))
    assert run(row, None, max_new_tokens=8, min_new_tokens=2).lists()[1] == [greedy(row[1], 8)]
    assert (engine.begin._cache_size(), engine.proceed._cache_size()) == before
    run(max_new_tokens=9)
    assert engine.begin._cache_size() == before[0] + 1


@pytest.mark.parametrize(
    ("length", "most", "wanted"),
    [(1, None, 1), (2, None, 2), (9, None, 16), (64, None, 64), (65, None, 128), (10, 12, 12)],
)
def test_buckets(length, most, wanted):
    assert engine.bucket(length, most) == wanted


def test_rows_stop_at_their_own_ends():
    whole = [greedy(row, 8) for row in ROWS]
    ends = (whole[0][3], whole[1][5])
    stop = tuple(whole[2][1:3])
    found = run(max_new_tokens=8, eos_token_id=ends, stop_sequences=(stop,), pad_token_id=0)
    for ours, row, length in zip(found.tokens[:, 0], whole, found.lengths[:, 0], strict=True):
        cuts = [i + 1 for i in range(8) if row[i] in ends or tuple(row[i - 1 : i + 1]) == stop]
        assert length == min([8, *cuts])
        np.testing.assert_array_equal(ours, row[:length] + [0] * (8 - length))


def test_max_length_counts_the_prompt_and_positions_are_a_limit():
    assert run(max_length=8).lengths[:, 0].tolist() == [3, 7, 5]
    limits = engine._limits(np.array([5, 1, 3]), GenerationConfig(max_new_tokens=3), 7)
    assert limits.most.tolist() == [3, 3, 3]
    assert engine._limits(np.array([5]), GenerationConfig(), 7).most.tolist() == [2]


def test_streaming_gives_every_token_once():
    pieces = []
    further = {"on_tokens": pieces.append, "every": 3}
    streamed = run(max_new_tokens=7, further=further)
    assert [piece.shape[1] for piece in pieces] == [1, 3, 3]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), streamed.tokens[:, 0])
    assert streamed.lists() == [[greedy(row, 7)] for row in ROWS]


def test_scores_are_log_probabilities():
    found = run(max_new_tokens=4, output_scores=True)
    for row, words, scores, whole in zip(
        ROWS, found.tokens[:, 0], found.token_scores[:, 0], found.scores[:, 0], strict=True
    ):
        wanted = [log_probabilities(row + words[:i].tolist())[words[i]] for i in range(len(words))]
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
        np.testing.assert_allclose(whole, sum(wanted), atol=1e-5)


def test_enough_beams_find_the_best_of_all_texts():
    """Of all texts of three words, of which those that end before have their own length."""
    end, penalty = 0, 0.7
    found = run(
        max_new_tokens=3,
        num_beams=36,
        num_return_sequences=5,
        length_penalty=penalty,
        eos_token_id=end,
        early_stopping="never",
        output_scores=True,
    )
    for row, ours, scores, parts in zip(
        ROWS, found.lists(), found.scores, found.token_scores, strict=True
    ):
        texts = {}
        for words in itertools.product(range(V), repeat=3):
            text = words[: words.index(end) + 1] if end in words else words
            logs = [log_probabilities(row + list(text[:i]))[text[i]] for i in range(len(text))]
            texts[text] = sum(logs) / len(text) ** penalty
        best = sorted(texts, key=texts.get, reverse=True)[:5]
        assert [tuple(one) for one in ours] == best
        np.testing.assert_allclose(scores, [texts[one] for one in best], atol=1e-5)
        sums = parts.sum(axis=-1) / np.array([len(one) for one in best]) ** penalty
        np.testing.assert_allclose(sums, scores, atol=1e-5)


def test_draws_have_the_probabilities_of_the_warped_logits():
    logits = logits_of([1, 4]) / 0.8
    order = np.argsort(-logits)
    likely = np.exp(logits - logits.max())
    likely /= likely.sum()
    four = likely[order[:4]] / likely[order[:4]].sum()
    kept = order[: int(np.searchsorted(np.cumsum(four), 0.9)) + 1]
    kept = kept[likely[kept] >= 0.05 * likely.max()]
    wanted = np.zeros(V)
    wanted[kept] = likely[kept] / likely[kept].sum()
    settings = {"do_sample": True, "temperature": 0.8, "top_k": 4, "top_p": 0.9, "min_p": 0.05}
    count = 4000
    found = run(
        np.array([[1, 4]]),
        None,
        max_new_tokens=1,
        num_return_sequences=count,
        further={"key": jax.random.key(7)},
        **settings,
    )
    shares = np.bincount(found.tokens[0, :, 0], minlength=V) / count
    assert ((shares > 0) == (wanted > 0)).all()
    np.testing.assert_allclose(shares, wanted, atol=4 * 0.5 / count**0.5)


@pytest.mark.parametrize(
    ("prompts", "mask", "settings", "says"),
    [
        (np.zeros((2, 0), int), None, {}, "empty prompt"),
        (RIGHT, RAGGED * [[1], [0], [1]], {}, "row 1"),
        (RIGHT, RAGGED, {"max_length": 4}, "max_length=4"),
        (RIGHT, RAGGED, {"max_new_tokens": 9}, "max_new_tokens=6"),
        (RIGHT, RAGGED[:, :3], {}, "mask"),
        (RIGHT * 1.0, RAGGED, {}, "integers"),
    ],
)
def test_prompts_that_cannot_be_continued(prompts, mask, settings, says):
    with pytest.raises(DataError, match=says):
        run(prompts, mask, decoder=Chain(10), **settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"top_p": 0.0}, "top_p"),
        ({"num_return_sequences": 2}, "num_beams=1"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_beams=2"),
        ({"early_stopping": "always"}, "never"),
        ({"max_new_tokens": 0}, "1 or more"),
        ({"stop_sequences": ((),)}, "stop_sequences"),
    ],
)
def test_settings_out_of_range(settings, says):
    with pytest.raises(ConfigError, match=says):
        GenerationConfig(**settings)


def test_settings_from_a_folder(tmp_path):
    config = GenerationConfig.from_folder(
        tmp_path, {"eos_token_id": 2, "d_model": 8, "top_k": None}
    )
    assert config == GenerationConfig(eos_token_id=(2,))
    path = tmp_path / "generation_config.json"
    path.write_text('{"eos_token_id": [1, 2], "num_beams": 4, "forced_eos_token_id": 2, "x": 1}')
    config = GenerationConfig.from_folder(tmp_path, {"eos_token_id": 9})
    assert (config.eos_token_id, config.num_beams, config.forced_eos_token_id) == ((1, 2), 4, (2,))
    with pytest.raises(ConfigError, match="num_beams"):
        config.replace(num_beam=2)
    path.write_text("[")
    with pytest.raises(ConfigError, match="damaged"):
        GenerationConfig.from_folder(tmp_path)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="what XLA does on a CPU")
def test_a_step_writes_its_keys_in_place():
    """No array of the cache's shape is copied from step to step."""
    module = CausalLM(vocab_size=V, max_length=24, width=12, depth=1, heads=2, mlp_dim=8)
    tokens, valid = np.zeros((2, 24), np.int32), np.ones((2, 24), bool)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), tokens, train=False))
    variables = {"params": unbox(variables)["params"]}
    limits = engine.Limits(*(np.full(2, one, np.int32) for one in (8, 16, 0)))
    static = {"decoder": LinenDecoder(module), "config": GenerationConfig(), "processors": ()}
    begin = functools.partial(engine.begin, new=16, mesh=None, **static)
    run = jax.eval_shape(begin, variables, tokens, valid, limits, None, jax.random.key(0))
    compiled = engine.proceed.lower(
        run, variables, valid, limits, None, 16, mesh=None, **static
    ).compile()
    assert {leaf.shape for leaf in jax.tree.leaves(run.cache)} == {(2, 2, 24, 6), ()}
    text = compiled.as_text()
    assert "dynamic-update-slice" in text
    assert not re.search(r"f32\[2,2,24,6\]\S* copy\(", text)
