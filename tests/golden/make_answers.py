"""Writes metrics/answers.json with official code: `python tests/golden/make_answers.py FOLDER`.

FOLDER holds `vqaEval.py` (GT-Vision-Lab/VQA) and `cmrc2018_evaluate.py` (ymcui/cmrc2018). What
SQuAD's script computes is in transformers too. NLTK is installed, whose words need no data here.
"""

import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from nltk.tokenize.destructive import NLTKWordTokenizer
from transformers.data.metrics.squad_metrics import compute_exact, compute_f1, normalize_answer

FOLDER = Path(sys.argv[1])
OUT = Path(__file__).parent / "metrics" / "answers.json"
REPLACED = {
    ".decode('utf-8')": "",
    "(ur'": "(r'",
    'print "computing accuracy"': "",
    'print "Done computing accuracy"': "",
    "import nltk\n": "",
    "reload(sys)": "",
    "sys.setdefaultencoding('utf8')": "",
}
"""What Python 2 wanted."""
RNG = np.random.default_rng(0)


def load(name, **known):
    """The names that a script defines; its main part does not run."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    for old, new in REPLACED.items():
        text = text.replace(old, new)
    found = {"__name__": name, **known}
    exec(compile(text, name, "exec"), found)
    return SimpleNamespace(**found)


def vqa():
    """Normal forms of answers, and the accuracy of 60 questions."""
    module = load("vqaEval.py")

    def judge(questions, results):
        def table(rows):
            return SimpleNamespace(getQuesIds=lambda: list(rows), qa=rows)

        one = module.VQAEval(table(questions), table(results))
        one.updateProgress = lambda progress: None
        return one

    one = judge({}, {})
    raw = [
        *one.contractions,
        *one.manualMap,
        "A man", "the the cat", "an apple.", "3.5", "1,000", "1, 000", "on/off", "on / off",
        "U.S.A.",
        "it's", "Yes!", "yes , no", "(left)", "left-hand", "left - hand", "\ttwo\ndogs ", "",
        "a", "...", "$5.00", "10:30", "don't know", "men's", "five o'clock", "none", "What?",
        "a-b_c",
        "1,2,3 and 4", '"stop"', "{x}", "é", "black & white", "100%", "N/A", "3.", ".5", "a . b",
    ]  # fmt: skip
    pieces = ["The", "a", "two", "dont", "3.5", "1,5", "cat", "dog.", "-", "/", "?", ",", "x", "'s"]
    for _ in range(60):
        parts = RNG.choice(pieces, RNG.integers(1, 6))
        raw.append("".join(p + str(RNG.choice(["", " "])) for p in parts))
    normal = [one.processDigitArticle(one.processPunctuation(text.strip())) for text in raw]
    raw = [text.replace("’", "'") for text in raw]
    pool, cases = ["yes", "no", "red", "2"], []
    for index in range(60):
        given = [str(a) for a in RNG.choice(pool, 10, p=[0.5, 0.3, 0.15, 0.05])]
        said = str(RNG.choice(pool))
        answers = [{"answer": a, "answer_id": i} for i, a in enumerate(given)]
        kind = ["yes/no", "other"][index % 2]
        question = {"answers": answers, "question_type": kind, "answer_type": kind}
        exact = judge({0: question}, {0: {"answer": said}})
        exact.n = 12
        exact.evaluate()
        cases.append({"said": said, "given": given, "type": kind, "value": exact.evalQA[0] / 100})
    return {"normal": [list(pair) for pair in zip(raw, normal, strict=True)], "cases": cases}


def squad():
    """Exact match and F1 of pairs of texts."""
    pool = ["the", "a", "Theory", "of", "an", "U.S.", "1,000", "x-ray", "cat", "Cat!", "—", "", "é"]
    texts = ["", "the", "The cat.", "a cat sat", "cat sat on the mat", "U.S.A", "it's", "athens"]
    texts += [" ".join(RNG.choice(pool, RNG.integers(1, 7))) for _ in range(12)]
    cases = [
        [gold, said, compute_exact(gold, said), compute_f1(gold, said)]
        for gold, said in itertools.product(texts, texts)
    ]
    return {"cases": cases, "normal": [[t, normalize_answer(t)] for t in texts]}


def cmrc():
    """The same of Chinese texts."""
    words = SimpleNamespace(word_tokenize=NLTKWordTokenizer().tokenize)
    module = load("cmrc2018_evaluate.py", nltk=words)
    texts = [
        "北京",
        "北京市",
        "在北京，中国。",
        "1999年5月3日",
        "1999年 5月",
        "NBA 总冠军",
        "nba冠军",
    ]
    texts += [
        "《红楼梦》",
        "红楼梦",
        "约 3.5 公里",
        "3.5公里",
        "上海",
        "——",
        "a b c",
        "b c d",
        "约·翰",
    ]
    cases = [
        [gold, said, module.calc_em_score([gold], said), module.calc_f1_score([gold], said)]
        for gold, said in itertools.product(texts, texts)
    ]
    return {"cases": cases}


if __name__ == "__main__":
    values = {"vqa": vqa(), "squad": squad(), "cmrc": cmrc()}
    OUT.write_text(json.dumps(values, ensure_ascii=False, indent=None) + "\n", encoding="utf-8")
