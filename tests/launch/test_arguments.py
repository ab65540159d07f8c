"""Arguments of the scripts: words survive, mistakes are named, dry runs call nothing."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from shims import LAUNCH, NAMES, Shims, told

ODD = (
    'data.columns=("a b", "it\'s")',
    "train.duration=10 steps",
    "x=$(touch hacked) `touch hacked` ; & | > < * ? ~ #",
    "back\\slash",
    "é ✓",
    "",
)
WORKDIR = '/runs/of "mine" & others\''
ODD_TRAIN = ("train", "my configs/it's.py", *ODD, "--workdir", WORKDIR)

SCRIPTS = {
    "local.sh": ("--processes", "2"),
    "gpu_box.sh": ("--host", "me@box"),
    "gke.sh": ("--image", "mmjax:1", "--hosts", "2", "--claim", "c", "--mount", "/runs"),
    "sky.sh": ("--gpus", "H100:8"),
    "slurm.sh": ("--nodes", "2", "--gpus-per-node", "8"),
    "tpu_vm.sh": ("--zone", "z", "--queued", "--spot"),
}
"""Each with options that make it say all it can."""


def test_odd_words_reach_mmjax_as_they_are(shims):
    result = shims.run("local.sh", "--", *ODD_TRAIN)
    assert result.returncode == 0, told(result)
    assert shims.trainings() == [[*ODD_TRAIN, "--resume"]]
    assert not (shims.folder / "hacked").exists()


def test_train_and_the_two_dashes_may_be_left_out(shims):
    assert shims.run("local.sh", *ODD_TRAIN[1:]).returncode == 0
    assert shims.run("local.sh", "--retries=1", *ODD_TRAIN, "--resume").returncode == 0
    assert shims.trainings() == [[*ODD_TRAIN, "--resume"]] * 2


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_dry_run_calls_nothing_and_says_the_words(shims, name):
    result = shims.run(name, "--dry-run", *SCRIPTS[name], "--", *ODD_TRAIN)
    assert result.returncode == 0, told(result)
    assert shims.calls() == []
    said = result.stdout
    assert said
    assert not (shims.folder / "hacked").exists()
    assert not result.stderr


@pytest.mark.parametrize("name", sorted(SCRIPTS))
@pytest.mark.parametrize(
    ("arguments", "told_of"),
    [
        (("--nodez", "3", "--", *ODD_TRAIN), "no option --nodez .* there are: dry-run, "),
        ((), "there is nothing to run"),
        (("--", "train", "c.py"), "train has no --workdir"),
    ],
)
def test_mistakes_are_named_and_end_with_2(shims, name, arguments, told_of):
    result = shims.run(name, *arguments)
    assert result.returncode == 2
    assert re.search(told_of, result.stderr), told(result)
    assert len(result.stderr.splitlines()) == 1
    assert shims.calls() == []


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_an_option_without_its_value_is_named(shims, name):
    option = SCRIPTS[name][0]
    result = shims.run(name, option)
    assert result.returncode == 2
    assert f"{option} has no value" in result.stderr


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_help_is_the_head_of_the_script(shims, name):
    result = shims.run(name, "--help")
    assert result.returncode == 0
    assert f"launch/{name} [options]" in result.stdout
    assert "--dry-run" in result.stdout
    assert "set -" not in result.stdout


def test_mmjax_launch_is_the_script_with_this_installation(shims):
    variables = shims.environment()
    del variables["MMJAX_INTERPRETER"]
    command = [sys.executable, "-m", "mmjax", "launch", "local", "--dry-run", "--", *ODD_TRAIN]
    result = subprocess.run(
        command, env=variables, capture_output=True, text=True, check=False, cwd=shims.folder
    )
    assert result.returncode == 0, told(result)
    words = shlex.split(result.stdout.splitlines()[-1])
    assert words[3:] == [sys.executable, "-m", "mmjax", *ODD_TRAIN, "--resume"]
    assert shims.calls() == []


def test_the_run_id_is_that_of_the_workdir(shims):
    def of(*arguments, **variables):
        said = shims.run("local.sh", "--dry-run", "c.py", *arguments, **variables).stdout
        return re.search(r"MMJAX_RUN_ID=(\S+)", said)[1]

    one = of("--workdir", "runs/My Run")
    assert re.fullmatch(r"mmjax-my-run-\d+", one)
    assert of("a=b", "--workdir=runs/My Run") == one
    assert of("--workdir", "others/My Run") != one
    assert of("--workdir", "runs/My Run", MMJAX_RUN_ID="mine") == "mine"
    assert len(of("--workdir", "r" * 200)) <= 41


def test_buckets_are_mounted_and_the_run_lies_in_the_mount(shims):
    result = shims.run("local.sh", "c.py", "--workdir", "gs://my-bucket/runs/a b")
    assert result.returncode == 0, told(result)
    mount = f"{shims.folder}/.mmjax/mounts/my-bucket"
    assert shims.calls("gcsfuse")[0][-2:] == ["my-bucket", mount]
    assert shims.trainings() == [["train", "c.py", "--workdir", f"{mount}/runs/a b", "--resume"]]
    result = shims.run("local.sh", "c.py", "--workdir=s3://other/a", MMJAX_MOUNTS="/tmp/m")
    assert shims.calls("rclone")[0][-2:] == ["s3:other", "/tmp/m/other"]
    assert shims.trainings()[-1] == ["train", "c.py", "--workdir=/tmp/m/other/a", "--resume"]
    refused = shims.run("local.sh", "c.py", "--workdir", "gs://my-bucket")
    assert refused.returncode == 2
    assert "is a whole bucket" in refused.stderr


def test_a_bucket_that_cannot_be_mounted_stops_the_script(shims):
    shims.answer("gcsfuse", code=5)
    assert shims.run("local.sh", "c.py", "--workdir", "gs://my-bucket/a").returncode == 5
    assert shims.trainings() == []


def test_the_scripts_pass_shellcheck():
    checker = shutil.which("shellcheck", path=f"{sys.prefix}/bin") or shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed; it is in the extra `test`")
    scripts = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
    assert len(scripts) > 8
    result = subprocess.run(
        [checker, "-x", *map(str, scripts)],
        cwd=LAUNCH.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_every_command_that_scripts_use_has_a_shim(tmp_path):
    used = set(NAMES) - {"interpreter"}
    text = "\n".join(file.read_text() for file in LAUNCH.iterdir() if file.is_file())
    assert {name for name in used if re.search(rf"\b{name}\b", text)} == used
    assert Shims(tmp_path / "other").calls() == []
