#!/usr/bin/env bash
# Sets everything up, then lints, type-checks and tests. Arguments go to pytest: `-k splits`, `-m slow`.
set -euo pipefail

# shellcheck source=launch/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$repository"

"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m mypy
# A file is one process's, so that what its tests share is made once.
"$python" -m pytest -n "${MMJAX_TEST_WORKERS:-2}" --dist loadfile "$@"
