import numpy as np
import reference as parts

from cases import Case

PATCH, GRID, WIDTH = 4, 2, 8


def positions():
    """MAE's `get_2d_sincos_pos_embed`: half of the width the column, half the row."""
    table = np.zeros((GRID * GRID, WIDTH))
    for cell in range(GRID * GRID):
        parts_of_cell = []
        for place in (cell % GRID, cell // GRID):
            angles = [place / 10000 ** (2 * i / (WIDTH // 2)) for i in range(WIDTH // 4)]
            parts_of_cell += [*np.sin(angles), *np.cos(angles)]
        table[cell] = parts_of_cell
    return table


def guesses(scene, name, kept):
    """Row, place and guess of each hidden patch, with a list of places that is put in order."""
    p = scene.params["decoder"]
    for row in scene.rows("image"):
        order = np.argsort(scene.labels(name)["restore"][row])
        tokens = [p["mask_token"]] * GRID**2
        seen = parts.dense(p["narrow"], scene.tokens(name).values[row])
        for place, token in zip(order[:kept], seen, strict=True):
            tokens[place] = token
        values = (np.stack(tokens) + positions())[None]
        values = parts.transformer(p["transformer"], values, norm="pre", eps=1e-6)
        guess = parts.dense(p["out"], values)[0]
        for place in order[kept:]:
            yield row, place, guess[place]


def reconstruction(scene, name, *, kept, normalise):
    found = []
    for row, place, guess in guesses(scene, name, kept):
        top, left = PATCH * (place // GRID), PATCH * (place % GRID)
        pixels = np.float64(scene.batch.inputs["image"]["pixel_values"][row])
        target = pixels[top : top + PATCH, left : left + PATCH].reshape(-1)
        if normalise:
            target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
        found.append(np.mean((guess - target) ** 2))
    return np.mean(found)


NAME = "image/hidden_0.75_1"
SMALL = {"patch": PATCH, "decoder_width": WIDTH, "decoder_depth": 1, "decoder_heads": 2}
CASE = Case(
    lambda scene: reconstruction(scene, NAME, kept=1, normalise=True),
    SMALL,
    lengths={NAME: 1},
    without_gradient=("key/bias",),
)
