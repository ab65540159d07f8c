"""The Dockerfile, read: no engine runs here."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from shims import LAUNCH

FILE = LAUNCH / "docker" / "Dockerfile"
ROOT = LAUNCH.parent


def stages():
    """`{name: [(instruction, rest), ...]}` with lines that go on joined."""
    text = re.sub(r"\\\n\s*", " ", FILE.read_text())
    found, name = {}, ""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        found[name].append((word, rest))
    return found


def test_there_is_an_image_for_each_kind_of_machine():
    assert set(stages()) == {"cpu", "cuda", "tpu"}
    base = stages()["cpu"][0][1]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-bookworm AS cpu", base), (
        "pinned to a patch version"
    )
    installed = {name: " ".join(rest for _, rest in lines) for name, lines in stages().items()}
    assert "--require-hashes" in installed["cpu"]
    assert "jax[cuda13]==" in installed["cuda"]
    assert "jax[tpu]==" in installed["tpu"]


@pytest.mark.parametrize("name", ["cpu", "cuda", "tpu"])
def test_images_run_as_no_root_and_copy_only_what_is_there(name):
    lines = stages()[name]
    users = [rest for word, rest in lines if word == "USER"]
    assert users[-1] == "1000:1000"
    assert "ADD" not in [word for word, _ in lines]
    for word, rest in lines:
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source


def test_mmjax_gets_the_signals():
    entry = next(rest for word, rest in stages()["cpu"] if word == "ENTRYPOINT")
    assert json.loads(entry) == ["python", "-m", "mmjax"]


def test_what_is_copied_is_sent_to_the_engine():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = {
        source for word, rest in stages()["cpu"] if word == "COPY" for source in rest.split()[:-1]
    }
    assert copied == kept


def test_the_dockerfile_passes_hadolint():
    checker = shutil.which("hadolint", path=f"{sys.prefix}/bin") or shutil.which("hadolint")
    if checker is None:
        pytest.skip("hadolint is not installed; it is in the extra `test`")
    result = subprocess.run([checker, str(FILE)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert not result.stdout
