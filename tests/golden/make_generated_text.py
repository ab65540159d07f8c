"""What the reference libraries make of generated texts: writes `metrics/generated_text.json`.

Needs pycocoevalcap 1.2 with Java, sacrebleu 2.6.0, rouge-score 0.1.2 and jiwer 4.0.0:
`python tests/golden/make_generated_text.py`.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import jiwer
import sacrebleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from rouge_score import rouge_scorer

_TEXT = """a the man woman dog dog's cat runs running on grass, beach red red-haired ball "ball"
(small) in park. two 2 3.5 café can't it's don't people; and U.S. jumping; sits & looks!"""
_WORDS = _TEXT.split()
_LINES = [
    "A man's dog can't run, don't stop!",
    'Two (2) people; one-half "quoted" text... end.',
    "it's 3.5 km to the U.S. border at noon.",
    "A $5.00 well-known café & bar / pub",
    "I'm gonna wanna cannot gimme",
    "  hello   world  ",
    "he said 'hello' -- and left",
    "12,000 people: yes? no!",
    "don’t “curly” quotes – dash — em…",
    "#1 @home 50% off",
    "a/b [x] {y}",
    "Mr. Smith's car.",
    "日本語 テスト",
    "naïve über",
    "",
    "one",
    "they'll we've I'd",
    "e.g. this, i.e. that etc.",
    "wow!!! really???",
    "O'Brien sat at 3:30 on the 1st",
    "A&B AT&T a_b",
    "x*y=z ~ ^ |",
    "..",
    "a -- b -",
    "flag: São Tomé & Príncipe",
    "woman’s hat",
]


def texts(rng: random.Random, count: int, most: int = 9) -> list[str]:
    """Texts of 1 to `most` words."""
    return [" ".join(rng.choices(_WORDS, k=rng.randint(1, most))) for _ in range(count)]


def near(rng: random.Random, text: str) -> str:
    """The text with some words changed, dropped and added."""
    words = [rng.choice(_WORDS) if rng.random() < 0.25 else one for one in text.split()]
    words = [one for one in words if rng.random() > 0.1]
    return " ".join(words + rng.choices(_WORDS, k=rng.randint(0, 2)))


def cases() -> dict[str, tuple[list[str], list[list[str]]]]:
    """Predictions and references by name: random ones, and edges."""
    rng = random.Random(0)
    one = texts(rng, 12)
    several = [[near(rng, text) for _ in range(rng.randint(1, 4))] for text in one]
    unicode_ = ["красное яблоко", "赤いリンゴ", "红色的苹果。", "naïve café", "لا شيء"]
    return {
        "single": (one, [[near(rng, text)] for text in one]),
        "several": (one, several),
        "same": (one, [[text] for text in one]),
        "nothing shared": (["alpha beta gamma delta epsilon"], [["one two three four five"]]),
        "empty prediction": (["", one[0]], [[one[1]], [one[0]]]),
        "empty reference": ([one[0], one[1]], [[""], [one[1]]]),
        "both empty": (["", ""], [[""], [""]]),
        "one word": (["dog", "cat", "a"], [["dog"], ["dog"], ["the", "a"]]),
        "ties": (["a b a b a b", "b a"], [["b a b a", "a b a b a b a b"], ["a b", "b a b a"]]),
        "other scripts": (unicode_, [[near(rng, text), text[::-1]] for text in unicode_]),
        "lines": (
            ["the cat sat.\nthe dog ran away\n\nred ball", "one line only", "cat dog\ncat"],
            [["a dog ran\nthe cat sat down\nball red"], ["one line\nonly two"], ["cat\ndog cat"]],
        ),
    }


def coco(said: list[str], true: list[list[str]]) -> dict[str, object]:
    """Words, and scores of them."""
    ours = {i: [{"caption": one}] for i, one in enumerate(said)}
    theirs = {i: [{"caption": one} for one in row] for i, row in enumerate(true)}
    tokenizer = PTBTokenizer()
    found, gold = tokenizer.tokenize(ours), tokenizer.tokenize(theirs)
    if found.keys() != gold.keys() or any(len(gold[i]) != len(true[i]) for i in gold):
        # It loses empty texts at the end.
        found = {i: found.get(i, [""]) for i in range(len(said))}
        gold = {i: (gold.get(i, []) + [""] * len(row))[: len(row)] for i, row in enumerate(true)}
    bleu = Bleu(4).compute_score(gold, found, verbose=0)[0]
    return {
        "words": [found[i][0] for i in found],
        "reference_words": [gold[i] for i in gold],
        **{f"bleu_{n}": float(value) for n, value in enumerate(bleu, start=1)},
        "rouge_l": float(Rouge().compute_score(gold, found)[0]),
        # It fails where no reference has a word.
        "cider": float(Cider().compute_score(gold, found)[0]) if any(map(any, true)) else 0.0,
    }


def main() -> None:
    """Writes the file."""
    found = {}
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
    stemmed = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], True)
    for name, (said, true) in cases().items():
        most = max(map(len, true))
        streams = [[row[i] if i < len(row) else None for row in true] for i in range(most)]
        first = [row[0] for row in true]
        scores = {"predictions": said, "references": true, "coco": coco(said, true)}
        for tokens in ("13a", "zh", "char", "none"):
            value = sacrebleu.corpus_bleu(said, streams, tokenize=tokens, force=True).score
            scores[f"bleu {tokens}"] = value
        low = sacrebleu.corpus_bleu(said, streams, lowercase=True, force=True)
        scores["bleu lower"] = low.score
        scores["chrf"] = sacrebleu.corpus_chrf(said, streams).score
        scores["chrf++"] = sacrebleu.corpus_chrf(said, streams, word_order=2).score
        for key, one in (("rouge", scorer), ("rouge stemmed", stemmed)):
            rows = [one.score_multi(row, text) for text, row in zip(said, true, strict=True)]
            scores[key] = [
                math.fsum(row[kind].fmeasure for row in rows) / len(rows) for kind in rows[0]
            ]
        scores["wer"] = float(jiwer.wer(first, said))
        scores["cer"] = float(jiwer.cer(first, said))
        found[name] = scores
    lines = PTBTokenizer().tokenize({i: [{"caption": one}] for i, one in enumerate(_LINES)})
    found["words"] = {text: lines[i][0] for i, text in enumerate(_LINES)}
    path = Path(__file__).parent / "metrics" / "generated_text.json"
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
