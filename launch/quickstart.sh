#!/usr/bin/env bash
# Sets everything up, trains configs/quickstart.py into runs/quickstart and predicts a few rows.
# Arguments go to `mmjax train`, such as `train.duration="10 epochs"` or `--seeds 3`. A run that was
# interrupted goes on; after a finished one, the next goes into runs/quickstart-2, -3, ...
set -euo pipefail

# shellcheck source=launch/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$repository"

workdir=runs/quickstart
number=1
while [[ -e $workdir/report.html || -e $workdir/seeds.json ]]; do
  number=$((number + 1))
  workdir=runs/quickstart-$number
done

mmjax() {
  echo "\$ mmjax $*"
  "$environment/bin/mmjax" "$@"
}

mmjax train configs/quickstart.py "$@" --workdir "$workdir" --resume || {
  status=$?
  if ((status == 42)); then # stopped by a signal, and saved
    echo "the same command again goes on from there"
  fi
  exit "$status"
}

run=$workdir
if [[ ! -e $run/config.json ]]; then # several seeds: a folder each
  run=$(printf '%s\n' "$workdir"/seed_* | head -n 1)
fi
"$python" launch/examples.py write "$run"
mmjax predict "$run" --data "$run/examples/rows.csv" --out "$run/predictions.jsonl"
"$python" launch/examples.py show "$run"
