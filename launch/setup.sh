# shellcheck shell=bash
# Sourced by the other scripts: makes `.venv`, and fills it from requirements.lock whenever the lock
# has changed. Afterwards $repository is the root of the clone and $python the environment's Python.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
environment=$repository/.venv
python=$environment/bin/python
stamp=$environment/installed.sha256

# The first Python that starts and is new enough; a name on PATH may be a stub of a version manager.
find_python() {
  local candidate
  for candidate in ${MMJAX_PYTHON:+"$MMJAX_PYTHON"} python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "mmjax needs Python 3.11 or newer with the venv module; set MMJAX_PYTHON to one" >&2
  return 1
}

# What an installation depends on: the lock, the package's metadata, and where both lie.
wanted_digest() {
  "$python" - "$repository" <<'PYTHON'
import hashlib, pathlib, sys

root = pathlib.Path(sys.argv[1])
parts = [(root / name).read_bytes() for name in ("requirements.lock", "pyproject.toml")]
print(hashlib.sha256(b"\0".join([*parts, str(root).encode()])).hexdigest())
PYTHON
}

set_up() {
  local base digest
  if ! "$python" -c '' 2>/dev/null; then
    base=$(find_python)
    echo "making $environment with $("$base" --version)"
    "$base" -m venv --clear "$environment"
  fi
  digest=$(wanted_digest)
  if [[ -f $stamp && $(<"$stamp") == "$digest" ]]; then
    return
  fi
  echo "installing requirements.lock and mmjax into $environment (once, a few minutes)"
  rm -f "$stamp"
  local pip=("$python" -m pip --disable-pip-version-check --no-input -qq install --no-deps)
  "${pip[@]}" --require-hashes -r "$repository/requirements.lock"
  "${pip[@]}" --no-build-isolation -e "$repository"
  echo "$digest" >"$stamp"
}

set_up
