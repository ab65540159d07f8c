import errno
import os
import socket
import time
import unicodedata
from pathlib import Path

import pytest

from mmjax.core.errors import DataError, TransientError
from mmjax.data import paths
from mmjax.data.paths import read_media, resolve_media


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "media"
    (root / "sub").mkdir(parents=True)
    (root / "cat.png").write_bytes(b"cat")
    (root / "sub" / "dog.png").write_bytes(b"dog")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return root


def refused(root, cell, code, message=None, **options):
    with pytest.raises(DataError, match=message) as caught:
        resolve_media(root, cell, where="m.csv:7:image", **options)
    assert caught.value.code == code
    assert caught.value.where == "m.csv:7:image"
    return caught.value


@pytest.mark.parametrize("cell", ["cat.png", "./cat.png", "sub/../cat.png", "sub/dog.png"])
def test_files_inside_the_root(root, cell):
    assert resolve_media(root, cell, where="x") == (root / cell).resolve()


def test_an_absolute_path_inside_the_root_and_a_relative_root(root, monkeypatch):
    assert resolve_media(root, str(root / "cat.png"), where="x") == root / "cat.png"
    monkeypatch.chdir(root.parent)
    assert resolve_media(root.relative_to(root.parent), "cat.png", where="x") == root / "cat.png"


@pytest.mark.parametrize("cell", ["../secret.png", "sub/../../secret.png", "..", "/etc/passwd"])
def test_outside_the_root(root, cell):
    refused(root, cell, 301, "leaves the root")


def test_a_sibling_whose_name_starts_like_the_root(root):
    (root.parent / "media2").mkdir()
    (root.parent / "media2" / "x.png").write_bytes(b"x")
    refused(root, "../media2/x.png", 301)


def test_symlinks(root):
    (root / "inside.png").symlink_to("sub/dog.png")
    assert resolve_media(root, "inside.png", where="x") == root / "sub" / "dog.png"
    (root / "file.png").symlink_to(root.parent / "secret.png")
    (root / "folder").symlink_to(root.parent)
    (root / "loop.png").symlink_to("loop.png")
    (root / "dangling.png").symlink_to("gone.png")
    refused(root, "file.png", 302, "through a symlink")
    refused(root, "folder/secret.png", 302, "through a symlink")
    refused(root, "loop.png", 304)
    refused(root, "dangling.png", 306)


def test_a_root_that_is_a_symlink_is_followed(root):
    (root.parent / "link").symlink_to(root)
    assert resolve_media(root.parent / "link", "cat.png", where="x") == root / "cat.png"


@pytest.mark.parametrize("cell", ["a\0.png", "\udfff.png"])
def test_names_that_no_file_can_have(root, cell):
    refused(root, cell, 303)


@pytest.mark.parametrize(
    "cell",
    [
        "http://a/b.png",
        "https://a/b.png",
        "file:///etc/passwd",
        "pipe:cat /etc/passwd",
        "s3://bucket/b.png",
        "data:image/png;base64,AAAA",
        "C:\\b.png",
    ],
)
def test_schemes(root, cell):
    refused(root, cell, 305, "scheme")


def test_what_is_no_regular_file_is_refused_at_once(root, monkeypatch):
    os.mkfifo(root / "fifo.png")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(root)  # a socket's path is limited to about a hundred characters
        server.bind("socket.png")
        started = time.monotonic()
        refused(root, "sub", 304, "is a folder")
        refused(root, "fifo.png", 304, "FIFO")
        refused(root, "socket.png", 304, "FIFO, socket")
        assert time.monotonic() - started < 1
    (root / "zero").symlink_to("/dev/zero")
    refused(root, "zero", 302)
    refused(Path("/dev"), "zero", 304)


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("Cat.png", "did you mean 'cat.png'"),
        ("cat.png ", "did you mean 'cat.png'"),
        ("cat.jpg", "did you mean 'cat.png'"),
        ("sub/dgo.png", "did you mean 'sub/dog.png'"),
        ("sbu/dog.png", "did you mean 'sub'"),
    ],
)
def test_a_missing_file_names_the_nearest(root, cell, hint):
    assert hint in refused(root, cell, 306).fix


@pytest.mark.parametrize("cell", ["", None, 3])
def test_no_path_at_all(root, cell):
    refused(root, cell, 306, "no path")


def test_a_name_too_long_is_missing(root):
    assert len(str(refused(root, "x" * 5000, 306))) < 1000


def test_without_a_root_the_error_asks_for_one():
    assert "root=" in refused(None, "cat.png", 301, "no root").fix


def test_sizes(root):
    (root / "empty.png").touch()
    refused(root, "empty.png", 309, "0 bytes")
    refused(root, "cat.png", 309, "3 bytes, over the limit of 2", max_bytes=2)


def test_a_decomposed_file_name_is_found_by_its_composed_form(root):
    decomposed = unicodedata.normalize("NFD", "é.png")
    (root / decomposed).write_bytes(b"x")
    assert resolve_media(root, "é.png", where="x").name == decomposed


def test_reading(root):
    assert read_media(root, "sub/dog.png", where="x") == b"dog"


def test_a_link_put_in_place_after_the_check_is_not_followed(root, monkeypatch):
    swapped = root / "swapped.png"
    swapped.symlink_to(root.parent / "secret.png")
    monkeypatch.setattr(paths, "resolve_media", lambda *a, **k: swapped)
    with pytest.raises(DataError):
        read_media(root, "swapped.png", where="x")


def test_input_errors_are_retried_then_transient(root, monkeypatch):
    calls = []

    def failing(*arguments):
        calls.append(arguments)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(paths, "_BACKOFF_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(paths, "_read", failing)
    with pytest.raises(TransientError, match="cannot be read"):
        read_media(root, "cat.png", where="x")
    assert len(calls) == 4


def test_a_file_that_grows_while_it_is_read(root, monkeypatch):
    real = os.fstat

    def growing(handle):
        status = real(handle)
        with open(root / "cat.png", "ab") as file:
            file.write(b"more")
        return status

    monkeypatch.setattr(os, "fstat", growing)
    with pytest.raises(DataError, match="changed its size"):
        read_media(root, "cat.png", where="x")
