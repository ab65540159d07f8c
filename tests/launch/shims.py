"""Commands of clouds that record what they are asked, and answer as a test scripted them.

A shim takes the first of its answers that is left whose pattern finds its arguments, so that
`shims.answer("gcloud", "describe", out="READY")` stands for one call. Without an answer it says
nothing and ends with 0.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
NAMES = (
    "gcloud",
    "kubectl",
    "srun",
    "sbatch",
    "scontrol",
    "ssh",
    "scp",
    "sky",
    "docker",
    "gcsfuse",
    "rclone",
    "nvidia-smi",
    "interpreter",
)
"""`interpreter` is the Python that scripts start mmjax with."""

SHIM = r"""#!/usr/bin/env bash
name=$(basename "$0")
{ printf '%s' "$name"; printf '\037%s' "$@"; printf '\036'; } >>"$SHIM_FOLDER/log"
[[ $name == interpreter && $1 == -c ]] && echo 41234 && exit 0
[[ "$*" != *--filename=-* ]] || cat >"$SHIM_FOLDER/applied"
for answer in "$SHIM_FOLDER/$name".answer.*; do
  [[ -f $answer ]] || continue
  source "$answer"
  if [[ "$*" == *"$pattern"* ]]; then
    rm "$answer"
    [[ -z $out ]] || printf '%s\n' "$out"
    exit "$code"
  fi
done
exit 0
"""


class Shims:
    """A folder of shims; `path` goes before all else in PATH."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "bin"
        self.path.mkdir(parents=True)
        self._answers = 0
        for name in NAMES:
            file = self.path / name
            file.write_text(SHIM)
            file.chmod(0o755)

    def answer(self, name: str, pattern: str = "", *, code: int = 0, out: str = "") -> None:
        """One call of `name` whose arguments, joined by spaces, contain `pattern`."""
        self._answers += 1
        lines = {"pattern": pattern, "code": str(code), "out": out}
        text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in lines.items())
        (self.folder / f"{name}.answer.{self._answers:04d}").write_text(text)

    def calls(self, name: str = "") -> list[list[str]]:
        """What was called, in order, each with its arguments; of one name without it."""
        log = self.folder / "log"
        if not log.is_file():
            return []
        calls = [entry.split("\037") for entry in log.read_text().split("\036")[:-1]]
        asked = [call for call in calls if call != ["interpreter", "-c"] and call[1:2] != ["-c"]]
        return [call[1:] for call in asked if call[0] == name] if name else asked

    def run(
        self, script: str, *arguments: str, timeout: float = 60, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """`bash launch/<script> ...` with nothing but shims to call, and no waiting."""
        return subprocess.run(
            ["bash", str(LAUNCH / script), *arguments],
            env=self.environment(**variables),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MMJAX_", "SLURM_"))}
        return {
            **kept,
            "PATH": f"{self.path}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "SHIM_FOLDER": str(self.folder),
            "MMJAX_INTERPRETER": str(self.path / "interpreter"),
            "MMJAX_RETRY_SECONDS": "0",
            "MMJAX_POLL_SECONDS": "0",
            **variables,
        }

    def trainings(self) -> list[list[str]]:
        """What mmjax was asked to do by each start of it here."""
        return [call[2:] for call in self.calls("interpreter")]


def told(result: subprocess.CompletedProcess[str]) -> str:
    return json.dumps([result.returncode, result.stdout, result.stderr])
