#!/usr/bin/env bash
# Trains on one machine with NVIDIA GPUs: this one, or another by ssh.
#   launch/gpu_box.sh [options] [--] [train] CONFIG.py [dotted.key=value ...] --workdir RUN
# Options:
#   --host USER@BOX  another machine: the clone is sent there; RUN is a path there, or in a bucket
#   --source DIR     what is sent (the clone that this script lies in, or this folder)
#   --image IMAGE    here, in a container of docker
#   --per-gpu        one process for each GPU; otherwise one process drives them all
#   --accelerator A  cuda13 or cuda12, by the driver's version (cuda13)
#   --retries N      attempts in a row without a save between them (5)
#   --dry-run        says what it would do, and does nothing
set -euo pipefail

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=launch/remote.sh
source "$launch/remote.sh"

option_host=""
option_source=$(source_folder)
option_image=""
option_per_gpu=no
option_accelerator=cuda13
option_retries=5
read_arguments "host source image per_gpu accelerator retries" "$@"

if [[ -z $option_host ]]; then
  words=(--retries "$option_retries" --accelerator "$option_accelerator")
  [[ $option_per_gpu == no ]] || words+=(--per-gpu)
  [[ -z $option_image ]] || words=(--retries "$option_retries" --image "$option_image")
  [[ $dry_run == no ]] || words+=(--dry-run)
  if [[ $dry_run == no ]]; then
    nvidia-smi --list-gpus >&2 || refuse "nvidia-smi finds no GPU" "launch/local.sh trains without"
  fi
  exec bash "$launch/local.sh" "${words[@]}" -- "${command[@]}"
fi
[[ -z $option_image ]] || refuse "--image with --host" "one of them"
require_lasting_workdir
archive=${TMPDIR:-/tmp}/$run_id.tar.gz
log=${TMPDIR:-/tmp}/$run_id.log
shell=(ssh -o ServerAliveInterval=15 "$option_host")
line=$(there "$option_accelerator" ":")
[[ $option_per_gpu == no ]] || line=${line/--retries 0/--per-gpu --retries 0}

# shellcheck disable=SC2329 # called by its name
attempt() {
  run scp "$archive" "$option_host:$run_id.tar.gz" || return 75
  watched "$log" "${shell[@]}" "$line"
}

# shellcheck disable=SC2329 # called by its name
stop_there() {
  "${shell[@]}" "kill -TERM \$(cat $run_id/pid)" || true
}

pack "$option_source" "$archive"
if [[ $dry_run == yes ]]; then
  run scp "$archive" "$option_host:$run_id.tar.gz"
  run "${shell[@]}" "$line"
  exit 0
fi
on_signals
code=0
with_retries "$option_retries" attempt || code=$?
rm -f "$archive" "$log"
exit "$code"
