import json
import os
import subprocess
import sys

import pytest

from mmjax.core.files import atomic, read_json, write_json


def test_a_file_is_whole_and_its_folder_is_made(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with atomic(path) as file:
        file.write("grün\n")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "grün\n"
    assert os.listdir(path.parent) == ["b.txt"]
    with atomic(path, "wb") as file:
        file.write(b"\x00")
    assert path.read_bytes() == b"\x00"
    assert path.stat().st_mode & 0o777 == 0o644


def test_after_an_error_the_old_file_stands_and_nothing_else(tmp_path):
    path = tmp_path / "kept.json"
    write_json(path, {"a": 1})
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), atomic(path) as file:  # noqa: PT012
            file.write("half")
            raise error
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": float("nan")})
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["kept.json"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from mmjax.core.files import atomic\n"
        "with atomic(sys.argv[1]) as file:\n"
        "    file.write('new' * 100000)\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"


def test_json_keeps_order_and_letters(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": ["ü", None, 1.5]})
    text = path.read_text(encoding="utf-8")
    assert text.index('"b"') < text.index('"a"')
    assert "ü" in text
    assert text.endswith("}\n")
    assert read_json(path) == json.loads(text) == {"b": 1, "a": ["ü", None, 1.5]}
