#!/usr/bin/env bash
# Trains on any cloud, as a managed job of SkyPilot (launch/sky.yaml), which recovers it.
#   launch/sky.sh [options] [--] [train] CONFIG.py [dotted.key=value ...] --workdir gs://BUCKET/RUN
# RUN may also be s3://BUCKET/RUN; the bucket is mounted.
# Options:
#   --gpus TYPE:N      such as H100:8; --cpus N+ without (8+)
#   --nodes N          machines (1)
#   --spot             cheaper, and may be taken away
#   --accelerator A    cpu, tpu, cuda12 or cuda13: what JAX is installed for (cuda13 with --gpus)
#   --source DIR       what is sent to the machines (the clone that this script lies in, or this folder)
#   --dry-run          prints the task and what it would do, and does nothing
set -euo pipefail

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=launch/remote.sh
source "$launch/remote.sh"
# shellcheck source=launch/yaml.sh
source "$launch/yaml.sh"

option_gpus=""
option_cpus=8+
option_nodes=1
option_spot=no
option_accelerator=""
option_source=$(source_folder)
read_arguments "gpus cpus nodes spot accelerator source" "$@"
require_lasting_workdir

mounts="{}"
if in_bucket "${workdir:-}"; then
  url=$workdir
  split_bucket "$url"
  replace_workdir "/runs/$folder"
  mounts="{\"/runs\": $(mapping source "${url%%://*}://$bucket" mode MOUNT)}"
fi
machine="cpus: $(json "$option_cpus")"
[[ -z $option_gpus ]] || machine="accelerators: $(json "$option_gpus")"
accelerator=${option_accelerator:-$([[ -n $option_gpus ]] && echo cuda13 || echo cpu)}
line=$(quoted exec bash launch/local.sh --accelerator "$accelerator" --retries 0 -- "${command[@]}")

text=$(<"$launch/sky.yaml")
fill NAME "$run_id" NODES "$option_nodes" SOURCE "$(json "$option_source")" MACHINE "$machine" \
  SPOT "$([[ $option_spot == yes ]] && echo true || echo false)" RETRY_CODES "${retry_codes// /, }" \
  MOUNTS "$mounts" COMMAND "$line"
if [[ $dry_run == yes ]]; then
  printf '%s\n' "$text"
  run sky jobs launch --yes --name "$run_id" FILE
  exit 0
fi
file=${TMPDIR:-/tmp}/$run_id.yaml
printf '%s\n' "$text" >"$file"
code=0
run sky jobs launch --yes --name "$run_id" "$file" || code=$?
rm -f "$file"
exit "$code"
