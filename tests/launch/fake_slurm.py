"""A SLURM of one machine: `sbatch`, `srun` and `scontrol` that really run what they are given.

`install(folder)` writes the three commands into `folder`/bin. A job's tasks are processes of this
machine with the variables that SLURM gives. When the file `notice` appears in `folder`, the batch
script gets SIGUSR1 once, as with `--signal=B:USR1@120`; `scontrol requeue` has it run again.
What happened is in `folder`/events, a line each.
"""

from __future__ import annotations

import sys
from pathlib import Path

COMMON = """#!{python}
import os, signal, subprocess, sys, time
from pathlib import Path

FOLDER = Path({folder!r})
TASKS = {tasks}

def note(*words):
    with (FOLDER / "events").open("a") as file:
        file.write(" ".join(map(str, words)) + "\\n")

"""

SBATCH = """
words = sys.argv[1:]
at = next(i for i, word in enumerate(words) if not word.startswith("-"))
copy = FOLDER / "spool.sh"
copy.write_text(Path(words[at]).read_text())
variables = {**os.environ, "SLURM_JOB_ID": "4242", "SLURM_SUBMIT_DIR": os.getcwd(),
             "SLURM_NTASKS": str(TASKS)}
for restart in range(4):
    if restart:
        variables["SLURM_RESTART_COUNT"] = str(restart)
    batch = subprocess.Popen(["bash", str(copy), *words[at + 1:]], env=variables)
    note("batch", restart)
    while batch.poll() is None:
        time.sleep(0.05)
        if (FOLDER / "notice").exists():
            (FOLDER / "notice").unlink()
            note("notice")
            batch.send_signal(signal.SIGUSR1)
    note("ended", batch.returncode)
    if not (FOLDER / "requeue").exists():
        break
    (FOLDER / "requeue").unlink()
"""

SRUN = """
words = sys.argv[1:]
while words[0].startswith("-"):
    words.pop(0)
tasks = []
for number in range(TASKS):
    place = {"SLURM_PROCID": number, "SLURM_LOCALID": number, "SLURM_STEP_NODELIST": "localhost",
             "SLURM_TASKS_PER_NODE": TASKS}
    variables = {**os.environ, **{name: str(value) for name, value in place.items()}}
    # A session of its own: SLURM signals all processes of a step at once.
    tasks.append(subprocess.Popen(words, env=variables, start_new_session=True))

def forward(number, _):
    for task in tasks:
        if task.poll() is None:
            os.killpg(task.pid, number)

for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, forward)
codes = [task.wait() for task in tasks]
note("tasks", *codes)
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""

SCONTROL = """
note("scontrol", *sys.argv[1:])
(FOLDER / "requeue").touch()
os.kill(os.getppid(), signal.SIGTERM)  # a job that is requeued is ended
"""


def install(folder: Path, *, tasks: int = 2) -> Path:
    """The folder of the commands, to go first in PATH."""
    commands = folder / "bin"
    commands.mkdir(parents=True)
    common = COMMON.format(python=sys.executable, folder=str(folder), tasks=tasks)
    for name, body in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", SCONTROL)):
        file = commands / name
        file.write_text(common + body)
        file.chmod(0o755)
    return commands


def events(folder: Path) -> list[str]:
    return (folder / "events").read_text().splitlines()
