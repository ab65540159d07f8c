"""What is handed to Kubernetes and SkyPilot: valid by their schemas, with the one retry policy."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from shims import LAUNCH, told

SCHEMAS = Path(__file__).parent / "schemas"
ODD = ('x="a b"', "it's $(HOME) `id`\nnext: line #\t", "@NAME@ & \\1 é")
TRAIN = ("--", "train", "configs/my c.py", *ODD, "--workdir")
IMAGE = ("--image", "registry/mmjax:1")


def valid(text, schema):
    """The values of a YAML file that fits a schema."""
    values = yaml.safe_load(text)
    whole = json.loads((SCHEMAS / schema).read_text())
    jsonschema.Draft202012Validator(whole).validate(values)
    return values


def jobset(shims, *arguments):
    """The JobSet of a dry run, without the lines that say what would be called."""
    result = shims.run("gke.sh", "--dry-run", *arguments)
    assert result.returncode == 0, told(result)
    text = "".join(line for line in result.stdout.splitlines(True) if not line.startswith("+ "))
    return valid(text, "jobset.json")


def job(values):
    (only,) = values["spec"]["replicatedJobs"]
    return only["template"]["spec"]


def pod(values):
    return job(values)["template"]["spec"]


def retry_codes():
    line = next(x for x in (LAUNCH / "retry.sh").read_text().splitlines() if "retry_codes=" in x)
    return [int(code) for code in line.split('"')[1].split()]


def test_the_jobset_restarts_by_the_policy_of_the_scripts(shims):
    values = jobset(shims, *IMAGE, "--hosts", "4", "--grace", "90", *TRAIN, "gs://b/a run")
    (rule,) = job(values)["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {
        "containerName": "mmjax",
        "operator": "NotIn",
        "values": retry_codes(),
    }
    # Of a code that is in the list the pod counts as failed, of which a job may have none.
    assert job(values)["backoffLimit"] == 0
    assert values["spec"]["failurePolicy"] == {
        "maxRestarts": 100,
        "rules": [
            {"name": "settled", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
        ],
    }
    assert pod(values)["restartPolicy"] == "Never"
    assert pod(values)["terminationGracePeriodSeconds"] == 90
    assert job(values)["parallelism"] == job(values)["completions"] == 4
    assert pod(values)["securityContext"]["runAsNonRoot"] is True


def test_the_words_reach_the_container_as_they_are(shims):
    values = jobset(shims, *IMAGE, *TRAIN, "gs://b/a run")
    (container,) = pod(values)["containers"]
    # Kubernetes makes `$(` of `$$(`, and would put a variable in otherwise.
    words = [word.replace("$$(", "$(") for word in container["args"]]
    assert words == [*TRAIN[1:], "/runs/a run", "--resume"]
    assert "$$(HOME)" in container["args"][3]


def test_the_first_pod_coordinates(shims):
    values = jobset(
        shims, *IMAGE, "--hosts", "4", "--gpus", "8", "--name", "one", *TRAIN, "gs://b/a"
    )
    variables = {one["name"]: one["value"] for one in pod(values)["containers"][0]["env"]}
    # As JobSet names pods: jobset, job, its number, the pod's, and the subdomain.
    assert variables["MMJAX_COORDINATOR"] == "one-hosts-0-0.one:8476"
    assert values["spec"]["network"] == {"enableDNSHostnames": True, "subdomain": "one"}
    assert [one["name"] for one in values["spec"]["replicatedJobs"]] == ["hosts"]
    assert variables["MMJAX_NUM_PROCESSES"] == "4"
    assert job(values)["completionMode"] == "Indexed"
    assert pod(values)["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "8"}}


def test_on_a_slice_the_cluster_tells_the_hosts(shims):
    slice_ = ("--tpu", "tpu-v5-lite-podslice", "--topology", "4x4", "--hosts", "4")
    values = jobset(
        shims, *IMAGE, *slice_, "--queue", "q", "--priority", "high", *TRAIN, "gs://b/a"
    )
    assert pod(values)["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    assert {one["name"] for one in pod(values)["containers"][0]["env"]} == {"MMJAX_RUN_ID"}
    labels = values["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "q"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"
    assert pod(values)["containers"][0]["resources"] == {"limits": {"google.com/tpu": "4"}}


def test_runs_lie_in_a_mounted_bucket_or_claim(shims):
    values = jobset(shims, *IMAGE, *TRAIN, "gs://my-bucket/runs/a")
    (volume,) = pod(values)["volumes"]
    assert volume["csi"]["driver"] == "gcsfuse.csi.storage.gke.io"
    assert volume["csi"]["volumeAttributes"]["bucketName"] == "my-bucket"
    assert job(values)["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    claimed = jobset(shims, *IMAGE, "--claim", "disk", "--service-account", "s", *TRAIN, "/runs/a")
    (volume,) = pod(claimed)["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "disk"}
    assert pod(claimed)["serviceAccountName"] == "s"
    bucket = jobset(shims, *IMAGE, "--claim", "disk", *TRAIN, "s3://b/runs/a b")
    assert pod(bucket)["volumes"] == pod(claimed)["volumes"]
    assert "/runs/runs/a b" in pod(bucket)["containers"][0]["args"]
    for arguments in (("runs/a",), ("s3://b/a",), ("gs://b",)):
        assert shims.run("gke.sh", *IMAGE, *TRAIN, *arguments).returncode == 2
    assert shims.calls() == []


@pytest.mark.parametrize(
    ("state", "codes", "ends_with"),
    [("Completed", "", 0), ("Failed", "134 2", 2), ("Failed", "143 143", 143), ("Failed", "", 1)],
)
def test_the_script_waits_and_ends_with_the_code_of_the_job(shims, state, codes, ends_with):
    shims.answer("kubectl", "get jobset")
    shims.answer("kubectl", "get jobset")
    shims.answer("kubectl", "get jobset", out=state)
    shims.answer("kubectl", "get pods", out=codes)
    result = shims.run("gke.sh", *IMAGE, "--name", "one", *TRAIN, "gs://b/a")
    assert result.returncode == ends_with, told(result)
    assert [call[1] for call in shims.calls("kubectl")][:4] == ["get", "apply", "get", "get"]
    valid((shims.folder / "applied").read_text(), "jobset.json")


def test_one_that_ended_makes_room_and_a_refused_one_stops_the_script(shims):
    shims.answer("kubectl", "get jobset", out="Failed")
    shims.answer("kubectl", "apply", code=7)
    result = shims.run("gke.sh", *IMAGE, "--detach", *TRAIN, "gs://b/a")
    assert result.returncode == 7, told(result)
    assert [call[1] for call in shims.calls("kubectl")] == ["get", "delete", "apply"]


def test_the_task_of_skypilot(shims):
    arguments = ("--gpus", "H100:8", "--nodes", "2", "--spot", *TRAIN, "s3://my-bucket/runs/a b")
    result = shims.run("sky.sh", "--dry-run", *arguments)
    assert result.returncode == 0, told(result)
    text = "".join(line for line in result.stdout.splitlines(True) if not line.startswith("+ "))
    values = valid(text, "sky_task.json")
    assert values["resources"]["job_recovery"] == {
        "max_restarts_on_errors": 0,
        "recover_on_exit_codes": retry_codes(),
    }
    assert values["resources"]["accelerators"] == "H100:8"
    assert values["resources"]["use_spot"] is True
    assert values["file_mounts"] == {"/runs": {"source": "s3://my-bucket", "mode": "MOUNT"}}
    shims.answer("sky", code=100)
    assert shims.run("sky.sh", *arguments).returncode == 100
    (call,) = shims.calls("sky")
    assert call[:3] == ["jobs", "launch", "--yes"]


def test_what_skypilot_runs_on_each_machine(shims, tmp_path):
    result = shims.run("sky.sh", "--dry-run", *TRAIN, "gs://b/a")
    values = yaml.safe_load(result.stdout.split("\n+ sky")[0])
    found = subprocess.run(
        ["bash", "-c", values["run"]],
        cwd=LAUNCH.parent,
        env=shims.environment(
            SKYPILOT_NUM_NODES="2",
            SKYPILOT_NODE_RANK="1",
            SKYPILOT_NODE_IPS="10.0.0.1\n10.0.0.2",
            MMJAX_RUN_ID=values["envs"]["MMJAX_RUN_ID"],
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, told(found)
    assert shims.trainings() == [[*TRAIN[1:], "/runs/a", "--resume"]]
