#!/usr/bin/env bash
# Remakes requirements.lock from pyproject.toml; needs uv (`pip install uv`). Pins stay as they are
# unless asked: `bash launch/lock.sh --upgrade-package jax`, or `--upgrade` for all. No index is named.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
printf '%s\n' 'hatchling>=1.25' 'editables>=0.5' | # what `pip install --no-build-isolation -e .` needs
  uv pip compile pyproject.toml - \
    --extra test --extra tensorboard \
    --universal --python-version 3.11 \
    --generate-hashes --no-annotate \
    --custom-compile-command 'bash launch/lock.sh' \
    --output-file requirements.lock "$@" >/dev/null
