"""`mmjax search` and `Run.search`."""

import io
import json

import numpy as np
import PIL.Image
import pytest
import tiny_run

from mmjax.api import searching
from mmjax.api.embeddings import Embeddings
from mmjax.api.nearest import nearest
from mmjax.api.run import Run
from mmjax.cli import main
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra


@pytest.fixture(scope="module")
def run(trained):
    with tiny_run.one_device():
        made = Run(trained)
        made.mesh  # noqa: B018
        yield made


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return tiny_run.write_data(tmp_path_factory.mktemp("corpus"), 13, name="corpus", seed=5)


@pytest.fixture(scope="module")
def index(run, other):
    path = other.parent / "embeddings.npz"
    np.savez(path, **run.embed(other))
    return path


@pytest.fixture
def told(capsys):
    def command(*arguments, code=0):
        capsys.readouterr()
        got = main(["search", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert got == code, err
        return out if not code else err.splitlines()[-1]

    return command


def test_a_row_finds_itself_by_its_text_and_by_its_picture(run, other, index):
    rows = tiny_run.read_rows(other)
    by_text = run.search(index, rows[3]["words"], space="text", top=3)
    assert by_text[0]["similarity"] == pytest.approx(1, abs=1e-5)
    same = [i for i, row in enumerate(rows) if row["words"] == rows[3]["words"]]
    assert by_text[0]["row"] == same[0]
    by_picture = run.search(index, other.parent / rows[4]["picture"], space="image")
    assert [by_picture[0][k] for k in ("rank", "id", "row")] == [1, rows[4]["id"], 4]
    assert [one["rank"] for one in by_picture] == list(range(1, 11))


def test_the_fused_space_is_searched_unless_told(run, index):
    found = run.search(index, "wing feather")
    with np.load(index) as arrays:
        asked = run.embed({"id": ["0"], "words": ["wing feather"], "picture": [None]})["fused"]
        values, rows = nearest(asked, arrays["fused"], 10)
    assert [one["row"] for one in found] == rows[0].tolist()
    assert [one["similarity"] for one in found] == pytest.approx(values[0].tolist())
    assert found == run.search(index, "wing feather", space="fused", modality="text")


def test_in_a_joint_space_a_text_finds_pictures(run, index, other):
    """Without a fused array, the pictures are searched with the text's own vector."""
    with np.load(index) as arrays:
        joint = {name: arrays[name] for name in ("ids", "text", "image")}
    joint["image"] = joint["image"].copy()
    joint["image"][[2, 5]] = 0  # rows without a picture are never found
    own = run.embed({"id": ["0"], "words": ["wing"], "picture": [None]})
    assert searching.choose_space(run, Embeddings.of(joint), "text", own) == "image"
    found = run.search(joint, "wing", top=20)
    assert sorted(one["row"] for one in found) == [0, 1, 3, 4, *range(6, 13)]
    at = [one["row"] for one in found]
    values, _ = nearest(own["text"], joint["image"][at], 20)
    assert [one["similarity"] for one in found] == pytest.approx(values[0].tolist())
    narrow = {**joint, "image": joint["image"][:, :4]}
    assert searching.choose_space(run, Embeddings.of(narrow), "text", own) == "text"


def test_queries_that_are_arrays_and_pictures(run, other, index):
    path = other.parent / tiny_run.read_rows(other)[7]["picture"]
    want = run.search(index, path, space="image")
    with PIL.Image.open(path) as picture:
        assert run.search(index, np.asarray(picture), space="image") == want
        assert run.search(index, picture.copy(), space="image") == want


def test_the_command_prints_a_table_and_json_and_draws(told, trained, other, index, tmp_path):
    plot = tmp_path / "plots" / "nearest.png"
    asked = (trained, "--index", index, "--query", "fin water", "--top", 3)
    out = told(*asked, "--plot", plot, "--data", other)
    assert "fin water: nearest of 13 rows" in out
    assert f"plot  {plot}" in out
    with PIL.Image.open(plot) as picture:
        assert picture.format == "PNG"
        assert picture.width > 300
    found = json.loads(told(*asked, "--json"))
    assert found["query"] == "fin water"
    assert [one["rank"] for one in found["results"]] == [1, 2, 3]
    for one in found["results"]:
        assert f"{one['id']}" in out
        assert f"{one['similarity']:.3f}" in out
    picture = other.parent / tiny_run.read_rows(other)[0]["picture"]
    told(trained, "--index", index, "--query", picture, "--plot", plot, "--data", other)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--query", "wing", "--modality", "imag"), "MMX-109: no modality 'imag' to ask with"),
        (("--query", "wing", "--space", "pictures"), "MMX-561: no embeddings 'pictures'"),
        (("--query", "no_such.png"), "MMX-306: no file 'no_such.png'"),
        (("--query", "call.wav", "--top", "0"), "MMX-106: top = 0"),
        (("--query", " "), "MMX-564: the query has nothing that 'text' reads"),
    ],
)
def test_a_bad_question_is_one_line(told, trained, index, arguments, line):
    assert line in told(trained, "--index", index, *arguments, code=2)


def test_a_sound_for_a_run_without_sounds(run, index, tmp_path):
    (tmp_path / "call.wav").write_bytes(b"RIFF")
    with pytest.raises(ConfigError, match=r"MMX-109.*no modality of kind audio.*image, text"):
        run.search(index, tmp_path / "call.wav")


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"fused": np.ones((2, 3))}, "MMX-560: the index has no ids"),
        ({"ids": np.zeros(0), "fused": np.ones((0, 8))}, "MMX-563: the index is empty"),
        ({"ids": np.arange(2), "fused": np.ones((2, 3))}, "MMX-562: the query has 8 numbers, 'fus"),
        ({"ids": np.arange(2), "fused": np.ones((3, 8))}, "MMX-560: 'fused' has shape [3, 8] for"),
        ({"ids": np.arange(2), "fused": np.zeros((2, 8))}, "MMX-563: no row of the index has"),
        ({"ids": np.arange(1), "fused": np.full((1, 8), np.nan)}, "MMX-563: 'fused' of the index"),
        ({"ids": np.arange(1), "fused": np.full((1, 8), "a")}, "MMX-560: 'fused' is <U1"),
    ],
)
def test_an_index_that_is_none_is_told(told, trained, tmp_path, arrays, line):
    path = tmp_path / "index.npz"
    np.savez(path, **arrays)
    assert line in told(trained, "--index", path, "--query", "wing", code=2)


def test_files_that_are_no_index(run, tmp_path):
    bad = tmp_path / "bad.npz"
    for content in (b"", b"PK\x03\x04 no zip", b"text"):
        bad.write_bytes(content)
        with pytest.raises(DataError, match=r"MMX-560.*bad\.npz"):
            run.search(bad, "wing")
    stream = io.BytesIO()
    np.savez(stream, ids=np.array([{}], dtype=object))
    bad.write_bytes(stream.getvalue())
    with pytest.raises(DataError, match="MMX-560"):
        run.search(bad, "wing")
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(DataError, match="MMX-560"):
        run.search(tmp_path / "array.npy", "wing")
    with pytest.raises(DataError, match="MMX-306"):
        run.search(tmp_path / "absent.npz", "wing")


def test_a_plot_needs_the_rows_of_the_index(told, trained, index, tmp_path):
    few = tiny_run.write_data(tmp_path, 2, name="few")
    plot = tmp_path / "a.png"
    asked = (trained, "--index", index, "--query", "wing", "--plot", plot, "--data", few)
    assert "MMX-565: the data has no row 'r" in told(*asked, code=2)
    assert not plot.exists()


def test_an_approximate_search_keeps_its_graph(run, index):
    pytest.importorskip("faiss")
    exactly = run.search(index, "wing", top=4)
    assert run.search(index, "wing", top=4, approximate=True) == exactly
    graph = index.with_name("embeddings.fused.cosine.faiss")
    before = graph.stat().st_mtime_ns
    assert run.search(index, "wing", top=4, approximate=True) == exactly
    assert graph.stat().st_mtime_ns == before
    assert run.search(dict(np.load(index)), "wing", top=4, approximate=True) == exactly


def test_an_approximate_search_without_faiss(run, index, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"mmjax\[search\]"):
        run.search(dict(np.load(index)), "wing", approximate=True)
