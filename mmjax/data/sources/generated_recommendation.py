"""A generated shop: what people chose before, and the texts and pictures of what there is."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Shaped
from mmjax.data.histories import Histories
from mmjax.data.table import Table

KINDS = {
    "hat": ("a hat for cold days", "headwear of wool", "hat with a brim"),
    "mug": ("a mug that keeps warm", "for coffee or tea", "stoneware mug"),
    "lamp": ("a lamp for the desk", "light for reading", "lamp with a long arm"),
    "bag": ("a bag for the shoulder", "carries books and more", "canvas bag"),
    "rug": ("a rug for the hall", "soft under the feet", "rug of cotton"),
    "vase": ("a vase for a few stems", "holds cut flowers", "glass vase"),
}
"""What is said of each kind of thing, by no colour."""
COLOURS = {
    "red": (205, 50, 45),
    "green": (50, 160, 80),
    "blue": (50, 90, 205),
    "yellow": (235, 195, 50),
    "violet": (140, 70, 180),
}
"""The colours of pictures, which show no kind."""
_SIDE = 16
_TASTE = 4.0


class _Shop:
    """The kind and the colour of each item, the later ones new: nobody chose them in training."""

    def __init__(self, items: int, seed: int):
        rng = np.random.default_rng((seed, 0))
        self.kinds = rng.permutation(np.arange(items) % len(KINDS))
        self.colours = rng.permutation(np.arange(items) % len(COLOURS))
        self.new = np.arange(items) >= items - items // 10

    def names(self) -> list[str]:
        return [f"thing {i}" for i in range(len(self.kinds))]


@dataclasses.dataclass(frozen=True)
class GeneratedRecommendation:
    """`users` generated people, each of whom chose `choices` of `items` things, one after another.

    Columns: `user`, `history` (what was chosen before, the oldest first), `item` and `split`: the
    last choice is the test row, the one before it the validation row, the others train. Someone has
    two kinds of things and one colour that he or she likes, and chooses by both; a tenth of the
    things are new and chosen in validation and test alone, so that only text and picture tell what
    they are. Nothing here was sold to anyone. A user depends on `seed` and the number alone.
    """

    users: int = 300
    choices: int = 10
    items: int = 360
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self, users=1, choices=4, seed=0, items=4 * self.choices)

    def read(self) -> Table:
        """All rows, user by user."""
        shop = _Shop(self.items, self.seed)
        names = shop.names()
        columns: dict[str, list[Any]] = {name: [] for name in ("user", "item", "split")}
        histories = Histories()
        for user in range(self.users):
            rng = np.random.default_rng((self.seed, 1, user))
            liked = rng.choice(len(KINDS), 2, replace=False)
            colour = rng.integers(len(COLOURS))
            wish = _TASTE * np.isin(shop.kinds, liked) + _TASTE * (shop.colours == colour)
            chosen: list[int] = []
            for place in range(self.choices):
                held = place >= self.choices - 2
                open_ = np.ones(self.items, bool) if held else ~shop.new
                open_[chosen] = False
                shares = np.where(open_, np.exp(wish), 0.0)
                chosen.append(int(rng.choice(self.items, p=shares / shares.sum())))
            whole = histories.add([names[item] for item in chosen])
            for place, item in enumerate(chosen[1:], 1):
                split = {self.choices - 2: "validation", self.choices - 1: "test"}
                cells = (f"user {user}", names[item], split.get(place, "train"))
                histories.row(whole, place)
                for name, cell in zip(columns, cells, strict=True):
                    columns[name].append(cell)
        digest = hashlib.sha256(f"{self} 1".encode()).hexdigest()
        return Table({**columns, "history": histories}, "generated_recommendation", digest)


@dataclasses.dataclass(frozen=True)
class GeneratedItems:
    """The things of `GeneratedRecommendation`: `item`, `text`, which tells the kind, `picture`
    (uint8 [16 16 3]), which shows the colour, and `new`, whether nobody chose it in training.
    """

    items: int = 360
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self, items=1, seed=0)

    def read(self) -> Table:
        """All things."""
        shop = _Shop(self.items, self.seed)
        texts, pictures = [], []
        for item in range(self.items):
            rng = np.random.default_rng((self.seed, 2, item))
            told = list(KINDS.values())[shop.kinds[item]]
            texts.append(f"{told[rng.integers(len(told))]}, number {item}")
            pictures.append(_picture(list(COLOURS.values())[shop.colours[item]], rng))
        columns = {
            "item": shop.names(),
            "text": texts,
            "picture": pictures,
            "new": shop.new.tolist(),
        }
        digest = hashlib.sha256(f"{self} 1".encode()).hexdigest()
        return Table(columns, "generated_items", digest)


def _picture(colour: tuple[int, int, int], rng: np.random.Generator) -> Shaped[np.ndarray, "h w 3"]:
    """A disc of the colour, somewhere on grey noise."""
    picture = rng.normal(128, 25, (_SIDE, _SIDE, 3))
    middle, radius = rng.uniform(6, 10, 2), rng.uniform(3, 5)
    grid = np.moveaxis(np.indices((_SIDE, _SIDE)), 0, -1)
    disc = np.linalg.norm(grid - middle, axis=-1) < radius
    picture[disc] = np.array(colour) + rng.normal(0, 12, (int(disc.sum()), 3))
    return picture.clip(0, 255).astype(np.uint8)


def _require(settings: Any, **least: int) -> None:
    for name, value in least.items():
        if getattr(settings, name) < value:
            raise ConfigError(
                106,
                f"{name} = {getattr(settings, name)}",
                where="source generated_recommendation",
                fix=f"{value} or more",
            )
