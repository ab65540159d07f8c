#!/usr/bin/env bash
# shellcheck disable=SC2034 # options are read by their names
# Submits launch/slurm.sbatch: a job that queues itself again after a preemption.
#   launch/slurm.sh [options] [--] [train] CONFIG.py [dotted.key=value ...] --workdir RUN
# Options:
#   --nodes N            (1)
#   --tasks-per-node N   processes of a node (1: one drives all its devices)
#   --gpus-per-node N    none if it is not given
#   --cpus-per-task N    --mem M  --time T  --partition P  --account A: as sbatch takes them
#   --notice S           seconds before the end of its time at which a job saves (120)
#   --sbatch "WORDS"     further options of sbatch
#   --accelerator A      cpu, cuda12 or cuda13: what JAX is installed for (cpu: as it is)
#   --retries N          attempts in a row without a save between them (5)
#   --dry-run            says what it would do, and does nothing
set -euo pipefail

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

option_nodes=1
option_tasks_per_node=1
option_gpus_per_node=""
option_cpus_per_task=""
option_mem=""
option_time=""
option_partition=""
option_account=""
option_notice=120
option_sbatch=""
option_accelerator=cpu
option_retries=5
own="gpus_per_node cpus_per_task mem time partition account"
read_arguments "nodes tasks_per_node $own notice sbatch accelerator retries" "$@"

words=(
  "--job-name=$run_id" "--nodes=$option_nodes" "--ntasks-per-node=$option_tasks_per_node"
  "--signal=B:USR1@$option_notice" "--output=$run_id-%j.log" "--chdir=$PWD"
)
for name in $own; do
  value=option_$name
  [[ -z ${!value} ]] || words+=("--${name//_/-}=${!value}")
done
# shellcheck disable=SC2206 # words are meant
[[ -z $option_sbatch ]] || words+=($option_sbatch)
run env "MMJAX_LAUNCH=$launch" "MMJAX_RUN_ID=$run_id" sbatch "${words[@]}" "$launch/slurm.sbatch" \
  --accelerator "$option_accelerator" --retries "$option_retries" -- "${command[@]}"
