"""Writes `metrics/seqeval.json`: what seqeval 1.2.2 says of random and odd tag sequences.

pip install seqeval==1.2.2 && python tests/golden/make_seqeval.py
"""

from __future__ import annotations

import json
import math
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from seqeval import scheme as schemes
from seqeval.metrics.sequence_labeling import accuracy_score
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as default
from seqeval.metrics.v1 import precision_recall_fscore_support as strict

LETTERS = {"IOB1": "IB", "IOB2": "IB", "IOE2": "IE", "IOBES": "IBES", "BILOU": "IBLU"}
RNG = random.Random(0)


def drawn(letters: str, kinds: list[str], rows: int, longest: int) -> list[list[str]]:
    def tag() -> str:
        return "O" if RNG.random() < 0.35 else f"{RNG.choice(letters)}-{RNG.choice(kinds)}"

    return [[tag() for _ in range(RNG.randint(0, longest))] for _ in range(rows)]


def noisy(rows: list[list[str]], letters: str, kinds: list[str]) -> list[list[str]]:
    other = lambda: RNG.choice(["O", f"{RNG.choice(letters)}-{RNG.choice(kinds)}"])  # noqa: E731
    return [[tag if RNG.random() < 0.6 else other() for tag in row] for row in rows]


def plain(values: Any) -> Any:
    values = [np.asarray(value, float).tolist() for value in values]
    return [None if isinstance(v, float) and math.isnan(v) else v for v in values]


def case(name: str, scheme: str, true: list[list[str]], said: list[list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "scheme": scheme}
    found |= {"true": list(map(" ".join, true)), "predicted": list(map(" ".join, said))}
    for mode, function, options in (
        ("default", default, {}),
        ("strict", strict, {"scheme": getattr(schemes, scheme)}),
    ):
        found[mode] = {
            str(average): plain(function(true, said, average=average, zero_division=0, **options))
            for average in ("micro", "macro", "weighted", None)
        }
    found["accuracy"] = accuracy_score(true, said) if any(true) else None
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    cases = []
    for scheme, letters in LETTERS.items():
        for i in range(4):
            true = drawn(letters, ["a", "b-c", "d"][: 1 + i % 3], 12, 9)
            cases.append(case("random", scheme, true, noisy(true, letters, ["a", "b-c", "e"])))
        true = drawn(letters, ["a"], 3, 5)
        nothing = [["O"] * len(row) for row in true]
        cases.append(case("empty prediction", scheme, true, nothing))
        cases.append(case("nothing true", scheme, nothing, true))
        cases.append(case("nothing at all", scheme, nothing, nothing))
        cases.append(case("no tokens", scheme, [[], []], [[], []]))
        cases.append(case("perfect", scheme, true, true))
    broken = [["I-a", "I-a", "O", "I-b"]]
    cases.append(case("broken", "IOB2", [["B-a", "I-a", "O", "B-b"]], broken))
    changed = [["B-a", "I-b", "I-a", "O"]]
    cases.append(case("broken kind", "IOB2", [["B-a", "I-a", "I-a", "O"]], changed))
    path = Path(__file__).with_name("metrics") / "seqeval.json"
    path.write_text(json.dumps(cases, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
