"""MovieLens as rows: histories before each film, the last films held out."""

from __future__ import annotations

import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.data.sources.movielens import MovieLens, MovieLensItems


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ml-100k.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\n1\t24\tM\twriter\n2\t30\tF\t\n"
    )
    rated = ["1\t9\t3\t50", "1\t7\t4\t10", "1\t8\t5\t20", "1\t6\t1\t20", "2\t9\t2\t5"]
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (tmp_path / "ml-100k.inter").write_text("\n".join([header, *rated]) + "\n")
    (tmp_path / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        '6\tThe "Six"\t1990\tDrama War\n7\tSeven\tV\t\n'
    )
    return str(tmp_path)


def _rows(table):
    columns = zip(*(table.column(n) for n in ("user", "history", "item", "split")), strict=True)
    return list(columns)


def test_films_follow_each_other_in_time_and_the_last_are_held_out(folder):
    table = MovieLens(folder=folder).read()
    assert _rows(table) == [
        ("1", [], "7", "train"),
        ("1", ["7"], "6", "train"),
        ("1", ["7", "6"], "8", "validation"),
        ("1", ["7", "6", "8"], "9", "test"),
        ("2", [], "9", "train"),
    ]
    assert table.column("rating") == [4.0, 1.0, 5.0, 3.0, 2.0]
    assert table.column("occupation")[-1] is None
    assert table.column("history")[1:3] == [["7"], ["7", "6"]]


def test_one_row_a_user_trains_on_all_of_the_history(folder):
    table = MovieLens(folder=folder, rows="users").read()
    assert _rows(table)[0] == ("1", ["7"], "6", "train")
    assert table.fingerprint != MovieLens(folder=folder).read().fingerprint


def test_films_have_titles_years_and_genres(folder):
    table = MovieLensItems(folder=folder).read()
    assert table.row(0) == {
        "item": "6",
        "title": 'The "Six"',
        "year": 1990.0,
        "genres": "Drama War",
    }
    assert table.row(1) == {"item": "7", "title": "Seven", "year": None, "genres": None}


def test_what_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(MissingExtra, match="pip install --no-deps recbole"):
        MovieLens(folder="package:no_such_package/data").read()
    (tmp_path / "ml-100k.item").write_text("film:token\n6\n")
    with pytest.raises(DataError, match="columns"):
        MovieLensItems(folder=folder).read()
    with pytest.raises(ConfigError, match="held_out"):
        MovieLens(held_out=0)
