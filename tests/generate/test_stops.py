"""Strings that end a row: against transformers' criterion, and in both searches."""

import itertools

import numpy as np
import pytest
from chain import TABLES, Chain, V, greedy

from mmjax.core.errors import ConfigError
from mmjax.generate import GenerationConfig, generate
from mmjax.generate.stops import stops_of, texts_of

TEXTS = dict(enumerate(["st", "op", "opera", "s", "to", "pped", " ", "stop", "ö", "pst", ""]))


def ends(tokens: list[int], strings) -> bool:
    """Whether any string would still be whole without what the newest token adds behind it, and
    would not be there without that token; the text of a token without one ends all before."""
    whole = "".join("\0" if not TEXTS[one] else TEXTS[one] for one in tokens)
    before = len(whole) - len(TEXTS[tokens[-1]])
    return any(
        whole.startswith(one, start) and start + len(one) > before
        for one in strings
        for start in range(len(whole))
    )


@pytest.mark.parametrize("strings", [("stop",), ("stops", "pst", "ö"), ("opop ",)])
def test_a_string_ends_where_its_last_letter_does(strings):
    prompts = [list(one) for one in itertools.product(range(len(TEXTS)), repeat=2)]
    stops = stops_of(strings, TEXTS, prompts)
    for token in TEXTS:
        following, found = stops.step(stops.at, np.full(len(prompts), token))
        wanted = [ends([*prompt, token], strings) for prompt in prompts]
        assert np.asarray(found).tolist() == wanted
        again = stops_of(strings, TEXTS, [[*prompt, token] for prompt in prompts])
        np.testing.assert_array_equal(following, again.at)
    far = stops.step(stops.at, np.full(len(prompts), len(TEXTS) + 3))
    assert not np.asarray(far[0]).any()
    assert not np.asarray(far[1]).any()


class Tokenizer:
    """As a tokenizer of words with a mark at their beginnings, which the first one loses."""

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens

        class Made:
            input_ids = (0,)

        return Made

    def convert_ids_to_tokens(self, ids):
        return ["_abcdef" for _ in ids]

    def get_vocab(self):
        return {"_abcdef": 0, "_a": 1, "b": 2}

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens).replace("_", " ").strip()


def test_texts_of_tokens_keep_their_blanks():
    assert texts_of(Tokenizer()) == {0: " abcdef", 1: " a", 2: "b"}


@pytest.mark.parametrize("search", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_rows_end_with_a_string_that_tokens_share(search):
    rows = [[1, 2, 3, 4, 5], [3], [2, 2, 4]]
    texts = {i: letter * 2 for i, letter in enumerate("abcdef")}
    assert len(texts) == V
    prompts = np.array([row + [0] * (5 - len(row)) for row in rows])
    mask = np.array([[1] * len(row) + [0] * (5 - len(row)) for row in rows])

    def run(**settings):
        config = GenerationConfig(max_new_tokens=8, pad_token_id=0, **search, **settings)
        found = generate(Chain(), TABLES, prompts, config, mask=mask, token_texts=texts)
        return [row[0] for row in found.lists()]

    whole = run()
    if not search:
        assert whole == [greedy(row, 8) for row in rows]
    # The end of one token and the beginning of the next, and one that the prompt begins.
    string = texts[whole[0][2]][1] + texts[whole[0][3]][0]
    inside = texts[rows[1][-1]] + texts[whole[1][0]][0]
    stopped = run(stop_strings=(string, inside))
    for row, full, short in zip(rows, whole, stopped, strict=True):
        said = "".join(texts[one] for one in row)
        cut = 8
        for count in range(8, 0, -1):
            text = said + "".join(texts[one] for one in full[:count])
            if any(one in text[len(text) - 2 - len(one) + 1 :] for one in (string, inside)):
                cut = count
        if not search:
            assert short == full[:cut]
    if not search:
        assert len(stopped[0]) <= 4
        assert len(stopped[1]) == 1
    else:
        assert stopped != whole


def test_strings_without_texts_are_refused():
    config = GenerationConfig(stop_strings="end", max_new_tokens=4)
    assert config.stop_strings == ("end",)
    with pytest.raises(ConfigError, match="texts of tokens"):
        generate(Chain(), TABLES, np.array([[1]]), config)
    with pytest.raises(ConfigError, match="empty one"):
        GenerationConfig(stop_strings=("",))
