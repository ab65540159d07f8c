"""Small data sets of texts that are to be written, heard or chosen, drawn by a program.

As those of `generated`, they show a task from end to end without files, and stand for no real data.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Float
from mmjax.data.table import Table

Scene = Literal["answers", "dialogues", "questions", "speech", "summaries"]
RATE = 4000
"""Samples a second of generated sounds."""

_COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 210)}
_COUNTS = ("one", "two", "three", "four")
_NAMES = ("ann", "bob", "eve", "ida", "jim", "kim", "leo", "mia")
_THINGS = {
    "phone": ("does not ring", "please raise its volume"),
    "lamp": ("stays dark", "please change the bulb"),
    "oven": ("stays cold", "please check the fuse"),
    "clock": ("is late", "please set it by the radio"),
}
_WEATHER = {
    "rain": ("it rained all day", "the streets were wet"),
    "snow": ("snow fell since the morning", "the roofs were white"),
    "sun": ("the sky was clear", "people sat outside in the sun"),
    "fog": ("nobody saw the towers", "the fog did not lift"),
}
_CITIES = ("oslo", "rome", "lima", "cairo", "delhi", "paris")
_FILLERS = (
    "the trains were on time",
    "a market was held",
    "the museum was open",
    "nothing else was said",
    "shops closed at six",
)
_LETTERS = "abcde"
_SPEAKERS = {"low": 1.0, "high": 1.6}


@dataclasses.dataclass(frozen=True)
class GeneratedLanguage:
    """`rows` generated rows of one scene: `split` is train in three of five, and no dialogue and no
    question is in two splits.

    - "answers": `question`, `picture` (uint8 [12 12 3], blocks of one colour), `answer`, one of
      four candidates, `right` (0 or 1) and `asked`, the number of the question;
    - "dialogues": `talk` and `turn` (0 or 1), `said`, and the `reply`, which says the name that the
      caller has told in the first turn alone;
    - "questions": `picture` (uint8 [12 12 3], two blocks), `question`, `answer` in two words;
    - "speech": `sound` (float32 [s] at 4 kHz: a tone a letter), `speaker`, whose voice is higher or
      lower, so that tones alone do not tell the letters, and `text`;
    - "summaries": `report` of several sentences, `degrees`, and the `summary`, which needs both.

    A row depends on `seed` and its number alone.
    """

    scene: Scene = "dialogues"
    rows: int = 600
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scene not in _SCENES or self.rows < 20 or self.seed < 0:
            raise ConfigError(
                106,
                f"scene = {self.scene!r}, rows = {self.rows}, seed = {self.seed}",
                where="source generated_language",
                fix=f"one of {', '.join(_SCENES)}, 20 rows or more, and a seed of 0 or more",
            )

    def read(self) -> Table:
        """All rows."""
        columns: dict[str, list[Any]] = {}
        for index, (group, cells) in enumerate(self._cells()):
            if index == self.rows:
                break
            split = ("train", "train", "train", "validation", "test")[group % 5]
            for name, cell in {"index": index, "split": split, **cells}.items():
                columns.setdefault(name, []).append(cell)
        digest = hashlib.sha256(f"{self} 1".encode()).hexdigest()
        return Table(columns, f"generated_{self.scene}", digest)

    def _cells(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The cells of each row, and the number of the group that it belongs to."""
        scenes = list(_SCENES)
        for group in range(self.rows):
            rng = np.random.default_rng((self.seed, scenes.index(self.scene), group))
            for cells in _SCENES[self.scene](rng, group):
                yield group, cells


def _answers(rng: np.random.Generator, group: int) -> Iterator[dict[str, Any]]:
    colour, count = str(rng.choice(list(_COLOURS))), int(rng.integers(len(_COUNTS)))
    picture = rng.integers(90, 140, (12, 12, 3))
    for place in rng.permutation(4)[: count + 1]:
        top, left = 6 * (place // 2) + 1, 6 * (place % 2) + 1
        picture[top : top + 4, left : left + 4] = _COLOURS[colour]
    asked = bool(rng.random() < 0.5)
    question = ("which colour do they have", "how many blocks are there")[asked]
    right = _COUNTS[count] if asked else colour
    words = [*_COUNTS, *_COLOURS]
    wrong = rng.permutation([word for word in words if word != right])[:3].tolist()
    for answer in rng.permutation([right, *wrong]).tolist():
        yield {
            "asked": f"q{group}",
            "question": question,
            "picture": picture.astype(np.uint8),
            "answer": answer,
            "right": int(answer == right),
        }


def _dialogues(rng: np.random.Generator, group: int) -> Iterator[dict[str, Any]]:
    name, thing = str(rng.choice(_NAMES)), str(rng.choice(list(_THINGS)))
    trouble, advice = _THINGS[thing]
    lines = [
        (f"hello, this is {name}, i bought a {thing}", f"hello {name}, how is your {thing}?"),
        (f"well, it {trouble}", f"{name}, {advice}"),
    ]
    for turn, (said, reply) in enumerate(lines):
        yield {"talk": f"t{group}", "turn": turn, "said": said, "reply": reply}


def _questions(rng: np.random.Generator, group: int) -> Iterator[dict[str, Any]]:
    picture = rng.integers(100, 130, (12, 12, 3))
    answers = []
    for side in range(2):
        colour, dark = str(rng.choice(list(_COLOURS))), bool(rng.random() < 0.5)
        top = int(rng.integers(1, 7))
        shade = np.array(_COLOURS[colour]) // 2 if dark else np.array(_COLOURS[colour]) // 2 + 120
        picture[top : top + 4, 6 * side + 1 : 6 * side + 5] = shade
        answers.append(f"{'dark' if dark else 'light'} {colour}")
    side = int(rng.integers(2))
    ask = str(rng.choice(["what colour is the {} block?", "the block on the {} is?"]))
    yield {
        "picture": picture.astype(np.uint8),
        "question": ask.format(("left", "right")[side]),
        "answer": answers[side],
    }


def _speech(rng: np.random.Generator, group: int) -> Iterator[dict[str, Any]]:
    text = "".join(rng.choice(list(_LETTERS), int(rng.integers(2, 5))))
    speaker = str(rng.choice(list(_SPEAKERS)))
    parts: list[Float[np.ndarray, "_"]] = []
    for letter in text:
        length, gap = int(rng.integers(400, 600)), int(rng.integers(100, 200))
        # Steps of the scale are as far apart as the voices are, so that one's tone is another's.
        pitch = 250 * _SPEAKERS[speaker] * 1.265 ** _LETTERS.index(letter)
        tone = np.sin(2 * np.pi * pitch * np.arange(length) / RATE + rng.uniform(0, 6))
        parts += [0.4 * tone * np.hanning(length) ** 0.3, np.zeros(gap)]
    sound = np.concatenate(parts)
    sound = sound + rng.normal(0, 0.02, len(sound))
    yield {"sound": sound.astype(np.float32), "speaker": speaker, "text": text}


def _summaries(rng: np.random.Generator, group: int) -> Iterator[dict[str, Any]]:
    city, weather = str(rng.choice(_CITIES)), str(rng.choice(list(_WEATHER)))
    degrees = float(np.round(rng.uniform(-10, 30), 1))
    told = rng.permutation([*_WEATHER[weather], *rng.choice(_FILLERS, 2, replace=False)]).tolist()
    said = "cold" if degrees < 5 else "mild" if degrees < 18 else "warm"
    yield {
        "report": ". ".join([f"news from {city}", *told]),
        "degrees": degrees,
        "summary": f"{weather} in {city}, {said}",
    }


_SCENES: Mapping[str, Callable[[np.random.Generator, int], Iterator[dict[str, Any]]]] = {
    "answers": _answers,
    "dialogues": _dialogues,
    "questions": _questions,
    "speech": _speech,
    "summaries": _summaries,
}
