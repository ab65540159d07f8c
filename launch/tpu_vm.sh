#!/usr/bin/env bash
# shellcheck disable=SC2329 # functions are called by their names
# Trains on a TPU VM: one slice, all its hosts. Makes it, makes it anew after a preemption, deletes it.
#   launch/tpu_vm.sh [options] [--] [train] CONFIG.py [dotted.key=value ...] --workdir gs://BUCKET/RUN
# The same workdir is the same run: every attempt goes on where the last one saved.
# Options:
#   --name NAME      of the machine (made from the workdir)
#   --zone Z         --project P: gcloud's own if not given
#   --type T         of the slice (v5litepod-8)
#   --version V      of its software (v2-alpha-tpuv5-lite)
#   --spot           cheaper, and may be taken away
#   --queued         asks for it by a queued resource, and waits until there is room
#   --source DIR     what is sent to the hosts (the clone that this script lies in, or this folder)
#   --setup COMMAND  run on each host first (installs Python 3.11 where there is none)
#   --retries N      attempts in a row without a save between them (5)
#   --keep           leaves the machine be at the end; one that was there before is left anyhow
#   --dry-run        says what it would do, and does nothing
# Needs gcloud, and gcsfuse on the hosts: --setup may install it.
set -euo pipefail

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=launch/remote.sh
source "$launch/remote.sh"

option_name=""
option_zone=""
option_project=""
option_type=v5litepod-8
option_version=v2-alpha-tpuv5-lite
option_spot=no
option_queued=no
option_source=$(source_folder)
option_setup="command -v python3.11 >/dev/null || { sudo apt-get -qq update && sudo apt-get -qq install -y python3.11-venv; }"
option_retries=5
option_keep=no
read_arguments "name zone project type version spot queued source setup retries keep" "$@"
require_lasting_workdir

name=${option_name:-$run_id}
place=()
[[ -z $option_zone ]] || place+=("--zone=$option_zone")
[[ -z $option_project ]] || place+=("--project=$option_project")
made=""
archive=${TMPDIR:-/tmp}/$run_id.tar.gz
log=${TMPDIR:-/tmp}/$run_id.log

tpus() {
  local group=$1 verb=$2
  shift 2
  run gcloud compute tpus "$group" "$verb" "$name" ${place[@]+"${place[@]}"} "$@"
}

# state: of the machine, or of the request for it; empty where there is none.
state() {
  local group=tpu-vm field=state
  [[ $option_queued == no ]] || { group=queued-resources && field=state.state; }
  tpus "$group" describe "--format=value($field)" 2>/dev/null || true
}

create() {
  local words=("--accelerator-type=$option_type" "--runtime-version=$option_version") said code=0
  [[ $option_spot == no ]] || words+=(--spot)
  made=yes
  if [[ $option_queued == yes ]]; then
    words+=("--node-id=$name")
    said=$(tpus queued-resources create "${words[@]}" 2>&1) || code=$?
  else
    said=$(tpus tpu-vm create "${words[@]}" 2>&1) || code=$?
  fi
  if [[ $dry_run == yes ]]; then echo "$said"; else echo "$said" >&2; fi
  # That there is no room now may pass; a wrong type or zone does not.
  ((code == 0)) || ! grep -qiE 'capacity|RESOURCE_EXHAUSTED|UNAVAILABLE|INTERNAL' <<<"$said" || code=75
  return "$code"
}

delete() {
  if [[ $option_queued == yes ]]; then
    tpus queued-resources delete --force --quiet
  else
    tpus tpu-vm delete --quiet
  fi
}

# ready: returns when the machine is there; one that was taken away is deleted and made anew.
ready() {
  local found tries=0
  while true; do
    found=$(state)
    case $found in
      READY | ACTIVE) return 0 ;;
      "") create || return $? ;;
      CREATING | STARTING | RESTARTING | REPAIRING | ACCEPTED | PROVISIONING | WAITING_FOR_RESOURCES)
        [[ -z ${stop_asked:-} ]] || return 75
        sleep "${MMJAX_POLL_SECONDS:-30}"
        ;;
      *)
        echo "launch: $name is $found: deleting it" >&2
        delete || return 75
        ;;
    esac
    tries=$((tries + 1))
    ((tries < 10000)) || return 75
  done
}

send() {
  run gcloud compute tpus tpu-vm scp "$archive" "$name:$run_id.tar.gz" \
    ${place[@]+"${place[@]}"} --worker=all
}

# on_all LINE: sets $shell, the words that run a command line on all hosts.
on_all() {
  shell=(gcloud compute tpus tpu-vm ssh "$name" ${place[@]+"${place[@]}"} --worker=all "--command=$1")
}

attempt() {
  local shell
  ready || return $?
  send || return 75
  on_all "$(there tpu "$option_setup" MMJAX_CLUSTER=auto)"
  watched "$log" "${shell[@]}"
}

stop_there() {
  local shell
  on_all "kill -TERM \$(cat $run_id/pid)"
  "${shell[@]}" || true
}

if [[ $dry_run == yes ]]; then
  create
  pack "$option_source" "$archive"
  send
  on_all "$(there tpu "$option_setup" MMJAX_CLUSTER=auto)"
  run "${shell[@]}"
  [[ $option_keep == yes ]] || delete
  exit 0
fi
pack "$option_source" "$archive"
on_signals
code=0
with_retries "$option_retries" attempt || code=$?
rm -f "$archive" "$log"
[[ -z $made || $option_keep == yes ]] || delete || true
exit "$code"
