"""Metrics of generated text against the reference libraries' numbers, and closed forms."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from mmjax import metrics
from mmjax.core.errors import DataError
from mmjax.metrics import captions, chrf, dialogue, speech, summaries, translation
from mmjax.metrics.caption_words import caption_words
from mmjax.metrics.captions import bleu as caption_bleu
from mmjax.metrics.captions import cider
from mmjax.metrics.texts import edit_distance, exact_match, longest_common
from mmjax.metrics.translation import bleu, tokens_of

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden/metrics/generated_text.json").read_text("utf-8")
)
WORDS = GOLDEN.pop("words")
CASES = sorted(GOLDEN)
EXACT = {"rel": 1e-9, "abs": 1e-12}


@pytest.mark.parametrize("name", CASES)
def test_captions_equal_pycocoevalcap_on_its_words(name):
    case = GOLDEN[name]
    coco = case["coco"]
    found = captions(
        coco["words"], [[" ".join(one.split()) for one in row] for row in coco["reference_words"]],
        words="blanks",
    )  # fmt: skip
    for metric in ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"):
        assert found[metric] == pytest.approx(coco[metric], **EXACT), metric


@pytest.mark.parametrize("name", CASES)
def test_captions_equal_pycocoevalcap_on_raw_texts(name):
    case = GOLDEN[name]
    found = captions(case["predictions"], case["references"])
    for metric in ("bleu_1", "bleu_4", "rouge_l", "cider"):
        assert found[metric] == pytest.approx(case["coco"][metric], **EXACT), metric
    assert found["chrf"] == pytest.approx(case["chrf"], **EXACT)


def test_words_of_captions_are_those_of_the_java_tokenizer():
    for text, words in WORDS.items():
        assert " ".join(caption_words(text)) == words, text


def test_captions_without_blanks_are_cut_into_characters():
    found = captions(["红色 的苹果"], ["红色的苹果"], words="characters")
    assert found["bleu_4"] == pytest.approx(1.0, rel=1e-6)
    assert found["rouge_l"] == 1.0


def test_plain_cider_is_a_cosine_of_weighted_counts():
    said = [["a", "b", "b"], ["c", "d"], ["a", "c"]]
    true = [[["a", "b"]], [["c", "d"], ["d", "c"]], [["e", "e"]]]
    names = sorted({w for row in true for one in row for w in one} | {"a", "b", "c", "d"})
    idf = {
        w: math.log(3 / max(1, sum(any(w in one for one in row) for row in true))) for w in names
    }

    def vector(words):
        return np.array([words.count(w) * idf[w] for w in names])

    def cosine(a, b):
        norm = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / norm if norm else 0.0

    def pairs(words):
        return [*itertools.pairwise(words)]

    ones = [
        np.mean([cosine(vector(one), vector(other)) for other in row])
        for one, row in zip(said, true, strict=True)
    ]
    # Of pairs, those of the first row share a b (of two), those of the second c d.
    twos = [1 / math.sqrt(2), 0.5, 0.0]
    assert cider(said, true, clipped=False) == pytest.approx(10 * np.mean([ones, twos]) * 2 / 4)
    assert pairs(["c", "d"]) == [("c", "d")]


@pytest.mark.parametrize("name", CASES)
def test_bleu_and_chrf_equal_sacrebleu(name):
    case = GOLDEN[name]
    said, true = case["predictions"], case["references"]
    for tokens in ("13a", "zh", "char", "none"):
        assert bleu(said, true, tokens=tokens) == pytest.approx(case[f"bleu {tokens}"], **EXACT)
    assert bleu(said, true, lower_case=True) == pytest.approx(case["bleu lower"], **EXACT)
    assert chrf(said, true) == pytest.approx(case["chrf"], **EXACT)
    assert chrf(said, true, words=2) == pytest.approx(case["chrf++"], **EXACT)
    assert translation(said, true) == {"bleu": bleu(said, true), "chrf": chrf(said, true)}


def test_translation_tells_of_each_language():
    said = ["ein Haus am See steht", "红色的苹果", "ein Hund"]
    true = [["ein Haus am See steht"], ["红色的苹果"], ["eine Katze"]]
    found = translation(said, true, languages=["de", "zh_Hans", "de"])
    assert found["bleu_zh_Hans"] == pytest.approx(100.0)
    assert found["bleu_de"] == bleu([said[0], said[2]], [true[0], true[2]])
    assert found["macro_chrf"] == pytest.approx((found["chrf_de"] + 100.0) / 2)
    assert [tokens_of(one) for one in ("de", "zh-TW", "ja", "KO")] == ["13a", "zh", "char", "char"]
    with pytest.raises(DataError, match="2 languages"):
        translation(said, true, languages=["de", "de"])


@pytest.mark.parametrize("name", CASES)
def test_summaries_equal_rouge_score(name):
    case = GOLDEN[name]
    found = summaries(case["predictions"], case["references"])
    assert list(found.values()) == pytest.approx(case["rouge"], **EXACT)


def test_stems_equal_those_of_rouge_score():
    pytest.importorskip("nltk")
    for case in GOLDEN.values():
        found = summaries(case["predictions"], case["references"], stemmer=True)
        assert list(found.values()) == pytest.approx(case["rouge stemmed"], **EXACT)


def test_summaries_of_any_script():
    assert summaries(["красное яблоко"], ["красное яблоко"])["rouge_1"] == 0.0
    assert summaries(["красное яблоко"], ["красное яблоко"], any_script=True)["rouge_2"] == 1.0


@pytest.mark.parametrize("name", CASES)
def test_error_rates_equal_jiwer(name):
    case = GOLDEN[name]
    found = speech(case["predictions"], [row[0] for row in case["references"]])
    assert found["wer"] == pytest.approx(case["wer"], **EXACT)
    assert found["cer"] == pytest.approx(case["cer"], **EXACT)


def test_error_rates_of_changed_texts():
    found = speech(["Don't stop"], ["don't, stop!"], lower_case=True, punctuation=False)
    assert found["wer"] == found["sentence_error"] == 0.0
    assert speech(["a b"], [""])["wer"] == 2.0


def _edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def test_distances_equal_those_of_the_table():
    rng = random.Random(1)
    for _ in range(200):
        a, b = (["xyz"[rng.randrange(3)] for _ in range(rng.randrange(9))] for _ in range(2))
        assert edit_distance(a, b) == _edits(a, b)
        # Without substitutions, what is not common is deleted and inserted.
        best = max(
            (
                k
                for k in range(min(len(a), len(b)) + 1)
                if set(itertools.combinations(a, k)) & set(itertools.combinations(b, k))
            ),
        )
        assert longest_common(a, b) == best


def test_dialogue_by_hand():
    found = dialogue(["The red, red ball", "", "red ball"], ["a red ball", "hello", ["no", "ball"]])
    assert found["f1"] == pytest.approx((0.8 + 0 + 2 / 3) / 3)
    assert found["distinct_1"] == pytest.approx(2 / 5)
    assert found["distinct_2"] == pytest.approx(2 / 3)
    assert found["exact_match"] == 0.0


def test_exact_match_ignores_case_blanks_and_forms():
    assert exact_match(["Ｒed  Ball ", "x"], ["red ball", ["y", "X"]]) == 1.0
    assert exact_match(["a", "b"], ["a", "c"]) == 0.5


def test_no_rows_are_nan_and_bad_rows_are_refused():
    for metric in (captions, translation, summaries, dialogue, speech):
        assert all(math.isnan(value) for value in metric([], []).values())
        with pytest.raises(DataError, match="1 predictions"):
            metric(["a"], [])
    with pytest.raises(DataError, match="row 1"):
        captions(["a", "b"], [["a"], []])
    assert all(map(math.isnan, caption_bleu([], [])))
    assert metrics.captions is captions
