#!/usr/bin/env bash
# Trains on this machine, in one process or several, and goes on after what may pass.
#   launch/local.sh [options] [--] [train] CONFIG.py [dotted.key=value ...] --workdir RUN
# RUN may be gs://BUCKET/RUN or s3://BUCKET/RUN: the bucket is mounted (gcsfuse, rclone).
# Options:
#   --processes N    so many processes on one machine, each with its part of the devices (1)
#   --devices N      virtual CPU devices of each process
#   --per-gpu        one process for each GPU; otherwise one process drives them all
#   --accelerator A  cpu, tpu, cuda12 or cuda13: what JAX is installed for (cpu: as it is)
#   --retries N      attempts in a row without a save between them (5); 0 gives the first code back
#   --image IMAGE    in a container of docker with all GPUs; RUN's folder and this one are mounted
#   --codes FOLDER   with --retries 0: also writes the exit code there, into a file of its own
#   --dry-run        says what it would do, and does nothing
# Exit codes are those of mmjax (launch/retry.sh).
set -euo pipefail

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option_processes=1
option_devices=""
option_per_gpu=no
option_accelerator=cpu
option_retries=5
option_codes=""
option_image=""
read_arguments "processes devices per_gpu accelerator retries codes image" "$@"

grace=${MMJAX_GRACE_SECONDS:-60}
stop_asked=""
children=()

# forward SIGNAL: a signal to this script is one to the processes that it started.
forward() {
  stop_asked=$1
  echo "launch: $1: ending" >&2
  local child
  for child in ${children[@]+"${children[@]}"}; do
    kill -s "$1" "$child" 2>/dev/null || true
  done
}

alive() {
  kill -0 "$1" 2>/dev/null
}

# reap PID: its exit code, also if signals to this script interrupt the wait.
reap() {
  local code
  while true; do
    code=0
    wait "$1" || code=$?
    ((code > 128)) && alive "$1" && continue
    break
  done
  return "$code"
}

# together: one attempt of all processes. The first that fails ends the others: they get $grace
# seconds to end by themselves, as those do that agreed to stop, then TERM, then KILL.
together() {
  local index child left="" began="" code codes=() started asked="" first=$SECONDS
  local environment=("MMJAX_RUN_ID=$run_id")
  [[ -z $option_devices ]] ||
    environment+=("XLA_FLAGS=${XLA_FLAGS:-} --xla_force_host_platform_device_count=$option_devices")
  if ((option_processes > 1)); then
    environment+=("MMJAX_COORDINATOR=127.0.0.1:$(free_port)" "MMJAX_NUM_PROCESSES=$option_processes")
  fi
  children=()
  for ((index = 0; index < option_processes; index++)); do
    started=("${environment[@]}")
    ((option_processes > 1)) && started+=("MMJAX_PROCESS_ID=$index")
    [[ $option_per_gpu == yes ]] && started+=("JAX_LOCAL_DEVICE_IDS=$index")
    if [[ $dry_run == yes ]]; then
      run env "${started[@]}" "${mmjax[@]}" "${command[@]}"
      continue
    fi
    # In a process group of its own: Ctrl-C in a terminal comes once, from this script.
    set -m
    env "${started[@]}" "${mmjax[@]}" "${command[@]}" &
    set +m
    children+=($!)
  done
  [[ $dry_run == no ]] || return 0
  [[ -z $stop_asked ]] || forward "$stop_asked"
  while true; do
    left=""
    codes=()
    for index in "${!children[@]}"; do
      child=${children[index]}
      if [[ $child == ended-* ]]; then
        codes+=("${child#ended-}")
      elif alive "$child"; then
        left+=" $child"
      else
        code=0
        reap "$child" || code=$?
        children[index]=ended-$code
        codes+=("$code")
      fi
    done
    [[ -n $left ]] || break
    if [[ -z $began ]] && (($(of_all ${codes[@]+"${codes[@]}"}) != 0)); then
      began=$SECONDS
    fi
    if [[ -n $began ]] && ((SECONDS - began >= grace)); then
      echo "launch: a process ended with $(of_all "${codes[@]}"): ending the others" >&2
      # shellcheck disable=SC2086
      kill -s "$([[ -n $asked ]] && echo KILL || echo TERM)" $left 2>/dev/null || true
      asked=yes
      began=$SECONDS
    fi
    sleep "$((SECONDS - first < 2 ? 0 : 1)).1"
  done
  return "$(of_all "${codes[@]}")"
}

free_port() {
  if [[ $dry_run == yes ]]; then
    echo PORT
  else
    "${mmjax[0]}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
  fi
}

if [[ $option_per_gpu == yes ]]; then
  if [[ $dry_run == yes ]]; then
    run nvidia-smi --list-gpus
  else
    option_processes=$(nvidia-smi --list-gpus | wc -l)
  fi
fi
[[ $option_processes =~ ^[1-9][0-9]*$ ]] ||
  refuse "--processes $option_processes" "a number of 1 or more"
[[ $option_retries =~ ^[0-9]+$ ]] || refuse "--retries $option_retries" "a number"

[[ -z $option_image ]] || MMJAX_INTERPRETER=python3
prepare "$option_accelerator"
mount_workdir
if [[ -n $option_image ]]; then
  ((option_processes == 1)) || refuse "--image with several processes" "one drives all GPUs"
  [[ -z $workdir || $workdir == /* ]] || replace_workdir "$PWD/$workdir"
  run mkdir -p "$(dirname "${workdir:-$PWD}")"
  # As this user, so that the run is theirs; --init passes signals on.
  mmjax=(
    docker run --rm --init --gpus all --shm-size=8g --user "$(id -u):$(id -g)"
    --env "MMJAX_RUN_ID=$run_id" --env HOME=/tmp
    --volume "$PWD:$PWD" --volume "$(dirname "${workdir:-$PWD}"):$(dirname "${workdir:-$PWD}")"
    --workdir "$PWD" "$option_image"
  )
fi
if [[ $dry_run == no ]] && ((option_processes == 1 && option_retries == 0)); then
  # One process of a job that another script watches: whoever signals it signals mmjax itself.
  [[ -z $option_devices ]] ||
    export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$option_devices"
  export MMJAX_RUN_ID=$run_id
  [[ -n $option_codes ]] || exec "${mmjax[@]}" "${command[@]}"
  trap : INT TERM USR1 HUP
  code=0
  "${mmjax[@]}" "${command[@]}" || code=$?
  echo "$code" >"$option_codes/${SLURM_PROCID:-0}"
  exit "$code"
fi
for signal in INT TERM USR1 HUP; do
  # shellcheck disable=SC2064
  trap "forward $signal" "$signal"
done
with_retries "$option_retries" together
