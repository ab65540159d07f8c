"""One machine with GPUs: this one, in a container or not, or another by ssh."""

import re
import shlex

import pytest
from shims import told

ODD = ("train", "my c.py", 'x="a b"', "it's $(false)")


def test_here_it_is_the_local_script(shims):
    shims.answer("nvidia-smi", out="GPU 0\nGPU 1")
    shims.answer("nvidia-smi", out="GPU 0\nGPU 1")
    result = shims.run("gpu_box.sh", "--per-gpu", "--", *ODD, "--workdir", "runs/a")
    assert result.returncode == 0, told(result)
    assert shims.trainings()[-2:] == [[*ODD, "--workdir", "runs/a", "--resume"]] * 2
    assert any("jax[cuda13]==" in word for call in shims.calls("interpreter") for word in call)
    shims.answer("nvidia-smi", code=9)
    refused = shims.run("gpu_box.sh", "--", *ODD, "--workdir", "runs/a")
    assert refused.returncode == 2
    assert "finds no GPU" in refused.stderr


@pytest.mark.parametrize("code", [0, 2, 42])
def test_a_container_has_the_words_the_folders_and_the_code(shims, code):
    shims.answer("docker", code=code)
    arguments = ("--image", "mmjax:cuda", "--retries", "0", "--", *ODD, "--workdir", "my runs/a")
    result = shims.run("gpu_box.sh", *arguments)
    assert result.returncode == code, told(result)
    (call,) = shims.calls("docker")
    at = call.index("mmjax:cuda")
    workdir = f"{shims.folder}/my runs/a"
    assert call[at + 1 :] == [*ODD, "--workdir", workdir, "--resume"]
    assert f"{shims.folder}/my runs:{shims.folder}/my runs" in call[:at]
    assert call[call.index("--user") + 1] != ""


def test_another_machine_gets_the_clone_and_tells_its_code(shims):
    source = shims.folder / "source"
    source.mkdir()
    sent = ("--host", "me@box", "--source", str(source))
    shims.answer("ssh", code=255, out="Connection reset")
    shims.answer("ssh", code=42, out="mmjax exit code 42")
    shims.answer("ssh", code=3, out="step 5\nmmjax exit code 3")
    result = shims.run("gpu_box.sh", *sent, "--", *ODD, "--workdir", "/data/my a")
    assert result.returncode == 3, told(result)
    assert [call[0] for call in shims.calls()] == ["scp", "ssh"] * 3
    lines = {call[-1] for call in shims.calls("ssh")}
    (line,) = lines
    words = shlex.split(re.search(r"set \+e; (env .*) & echo", line)[1])
    assert words[words.index("--") + 1 :] == [*ODD, "--workdir", "/data/my a", "--resume"]
    assert shims.run("gpu_box.sh", *sent, "--", *ODD, "--workdir", "runs/a").returncode == 2
