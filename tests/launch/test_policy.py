"""What is tried again: by exit code, in every script the same."""

import subprocess

import pytest
from shims import LAUNCH, told

from mmjax.core import errors

TRAIN = ("--", "train", "c.py", "--workdir", "runs/a")


def verdict(code):
    script = f'source "{LAUNCH}/retry.sh"; verdict {code}'
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_codes_of_errors_are_those_of_the_policy():
    assert verdict(0) == "done"
    assert verdict(errors.Preempted.exit_code) == "retry"
    assert verdict(errors.TransientError.exit_code) == "retry"
    for kind in (errors.ConfigError, errors.DataError, errors.CheckpointError, errors.NumericError):
        assert verdict(kind.exit_code) == "stop"


@pytest.mark.parametrize(
    ("codes", "of_all"),
    [("", 0), ("0 0", 0), ("42 42", 42), ("42 134", 134), ("134 2", 2), ("0 75", 75), ("3 2", 3)],
)
def test_the_code_of_a_job_is_first_one_that_forbids_a_retry(codes, of_all):
    script = f'source "{LAUNCH}/retry.sh"; of_all {codes}'
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) == of_all


@pytest.mark.parametrize(
    ("codes", "ends_with"),
    [
        ((0,), 0),
        ((2,), 2),
        ((3,), 3),
        ((1,), 1),
        ((130,), 130),
        ((42,) * 4 + (0,), 0),  # a saved run may go on for ever
        ((75, 137, 0), 0),
        ((75, 42, 75, 42, 75, 42, 0), 0),
        ((134, 75, 143), 143),  # one attempt and two more without a save between
        ((42, 2), 2),
    ],
)
def test_local_tries_again_what_may_pass(shims, codes, ends_with):
    for code in codes:
        shims.answer("interpreter", "train", code=code)
    result = shims.run("local.sh", "--retries", "2", *TRAIN)
    assert result.returncode == ends_with, told(result)
    whole = ["train", "c.py", "--workdir", "runs/a", "--resume"]
    assert shims.trainings() == [whole] * len(codes)


def test_without_retries_the_first_code_comes_back(shims):
    shims.answer("interpreter", "train", code=42)
    assert shims.run("local.sh", "--retries", "0", *TRAIN).returncode == 42
    assert len(shims.trainings()) == 1
