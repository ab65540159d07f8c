"""A TPU VM is made, made anew where it was taken away, and deleted; the run stays the same."""

import re
import shlex

import pytest
from shims import told

TRAIN = ("--", "train", "my c.py", 'x="a b"', "--workdir", "gs://bucket/it's a run")
DONE = "mmjax exit code 0"


def verbs(shims):
    """`create`, `ssh`, ...: what gcloud was asked, in order."""
    return [call[3] for call in shims.calls("gcloud")]


def trained(shims):
    """The words of `bash launch/local.sh` on the machine, of each attempt."""
    lines = [call[-1] for call in shims.calls("gcloud") if call[3] == "ssh"]
    return [
        shlex.split(re.search(r"set \+e; (env .*) & echo", line)[1])
        for line in lines
        if "launch/local.sh" in line
    ]


@pytest.fixture
def sent(shims):
    """A small folder to send."""
    source = shims.folder / "source"
    source.mkdir()
    (source / "my c.py").write_text("")
    return ("--source", str(source), "--zone", "z1")


def test_a_machine_is_made_trains_and_is_deleted(shims, sent):
    shims.answer("gcloud", "describe", code=1)
    shims.answer("gcloud", "describe", out="CREATING")
    shims.answer("gcloud", "describe", out="READY")
    shims.answer("gcloud", "ssh", out=f"{DONE}\n{DONE}")
    result = shims.run("tpu_vm.sh", *sent, "--spot", "--type", "v6e-16", *TRAIN)
    assert result.returncode == 0, told(result)
    expected = ["describe", "create", "describe", "describe", "scp", "ssh", "delete"]
    assert verbs(shims) == expected
    create = shims.calls("gcloud")[1]
    name = create[4]
    assert re.fullmatch(r"mmjax-it-s-a-run-\d+", name)
    assert {"--zone=z1", "--spot", "--accelerator-type=v6e-16"} <= set(create)
    (words,) = trained(shims)
    assert words[:4] == ["env", "MMJAX_CLUSTER=auto", f"MMJAX_RUN_ID={name}", "bash"]
    assert words[words.index("--") + 1 :] == [*TRAIN[1:], "--resume"]
    assert all("--zone=z1" in call for call in shims.calls("gcloud"))


@pytest.mark.parametrize("queued", [False, True])
def test_a_preempted_machine_is_deleted_made_anew_and_runs_the_same_run(shims, sent, queued):
    gone, there = ("SUSPENDED", "ACTIVE") if queued else ("PREEMPTED", "READY")
    shims.answer("gcloud", "describe", code=1)
    shims.answer("gcloud", "describe", out=there)
    # Taken away with no word: the connection breaks.
    shims.answer("gcloud", "ssh", code=255, out="Connection closed")
    shims.answer("gcloud", "describe", out=gone)
    shims.answer("gcloud", "describe", code=1)
    shims.answer("gcloud", "describe", out=there)
    shims.answer("gcloud", "ssh", code=1, out="mmjax exit code 42\nmmjax exit code 42")
    shims.answer("gcloud", "describe", out=there)
    shims.answer("gcloud", "ssh", out=DONE)
    result = shims.run("tpu_vm.sh", *sent, *(["--queued"] if queued else []), *TRAIN)
    assert result.returncode == 0, told(result)
    once = ["scp", "ssh"]
    made = ["describe", "create", "describe", *once]
    assert verbs(shims) == [*made, "describe", "delete", *made, "describe", *once, "delete"]
    attempts = trained(shims)
    assert len(attempts) == 3
    assert attempts[0] == attempts[1] == attempts[2]
    group = "queued-resources" if queued else "tpu-vm"
    kinds = {call[2] for call in shims.calls("gcloud") if call[3] in ("create", "delete")}
    assert kinds == {group}
    names = {call[4] for call in shims.calls("gcloud") if call[3] in ("create", "delete")}
    assert len(names) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("mmjax exit code 2\nmmjax exit code 134", 2),
        ("mmjax exit code 134\nmmjax exit code 3", 3),
        ("mmjax exit code 1", 1),
    ],
)
def test_a_code_that_forbids_a_retry_comes_back(shims, sent, said, code):
    shims.answer("gcloud", "describe", out="READY")
    shims.answer("gcloud", "ssh", code=1, out=said)
    result = shims.run("tpu_vm.sh", *sent, *TRAIN)
    assert result.returncode == code, told(result)
    # The machine was there before: it is left.
    assert verbs(shims) == ["describe", "scp", "ssh"]


@pytest.mark.parametrize(
    ("said", "code", "times"),
    [
        ("ERROR: (gcloud...) There is no more capacity in the zone", 75, 3),
        ("ERROR: (gcloud...) Invalid value for accelerator-type", 1, 1),
    ],
)
def test_no_room_may_pass_and_a_wrong_request_does_not(shims, sent, said, code, times):
    for _ in range(times):
        shims.answer("gcloud", "describe", code=1)
        shims.answer("gcloud", "create", code=1, out=said)
    result = shims.run("tpu_vm.sh", *sent, "--retries", "2", "--keep", *TRAIN)
    assert result.returncode == code, told(result)
    assert verbs(shims) == ["describe", "create"] * times
    assert said in result.stderr


def test_a_workdir_that_goes_with_the_machine_is_refused(shims, sent):
    result = shims.run("tpu_vm.sh", *sent, "--", "train", "c.py", "--workdir", "runs/a")
    assert result.returncode == 2
    assert "goes with it" in result.stderr
    assert shims.calls() == []
