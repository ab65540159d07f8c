#!/usr/bin/env bash
# Trains on Kubernetes, as a JobSet with one pod a host; on GKE also on TPU slices.
#   launch/gke.sh [options] --image IMAGE [--] [train] CONFIG.py [dotted.key=value ...] --workdir RUN
# RUN is gs://BUCKET/RUN (mounted by GKE's driver), a path below --mount of a volume claim, or
# s3://BUCKET/RUN with a claim that is this bucket. The image is one of launch/docker, with the
# config in it.
# Options:
#   --image IMAGE      what runs; its entry point is mmjax
#   --hosts N          pods (1)
#   --tpu TYPE         GKE's name of a slice, such as tpu-v5-lite-podslice, with --topology 4x4
#   --chips N          of it in each host (4)
#   --gpus N           of each host; --gpu TYPE: GKE's name of them
#   --cpus N           of each host, without either (4); --memory M (16Gi)
#   --queue Q          Kueue's local queue; --priority P: Kueue's class of workloads
#   --claim C          a volume claim for the runs, mounted at --mount (/runs)
#   --name NAME        (made from the workdir)  --namespace N (default)
#   --service-account S
#   --grace S          seconds between a pod's notice and its end (120)
#   --retries N        restarts of all pods (100)
#   --detach           returns once it is submitted; otherwise waits, and ends with the job's code
#   --dry-run          prints the JobSet and what it would do, and does nothing
set -euo pipefail

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=launch/yaml.sh
source "$launch/yaml.sh"

option_image=""
option_hosts=1
option_tpu=""
option_topology=""
option_chips=4
option_gpus=""
option_gpu=""
option_cpus=4
option_memory=16Gi
option_queue=""
option_priority=""
option_claim=""
option_mount=/runs
option_name=""
option_namespace=default
option_service_account=""
option_grace=120
option_retries=100
option_detach=no
read_arguments "image hosts tpu topology chips gpus gpu cpus memory queue priority claim mount name \
namespace service_account grace retries detach" "$@"
[[ -n $option_image ]] || refuse "there is no --image" "--image IMAGE, made by launch/docker/Dockerfile"
name=${option_name:-$run_id}

labels=(app.kubernetes.io/name mmjax)
[[ -z $option_queue ]] || labels+=(kueue.x-k8s.io/queue-name "$option_queue")
[[ -z $option_priority ]] || labels+=(kueue.x-k8s.io/priority-class "$option_priority")

nodes=()
if [[ -n $option_tpu ]]; then
  [[ -n $option_topology ]] || refuse "--tpu $option_tpu has no --topology" "--topology 4x4"
  nodes+=(cloud.google.com/gke-tpu-accelerator "$option_tpu" cloud.google.com/gke-tpu-topology "$option_topology")
  limits=$(mapping google.com/tpu "$option_chips")
elif [[ -n $option_gpus ]]; then
  [[ -z $option_gpu ]] || nodes+=(cloud.google.com/gke-accelerator "$option_gpu")
  limits=$(mapping nvidia.com/gpu "$option_gpus")
else
  limits=$(mapping cpu "$option_cpus" memory "$option_memory")
fi

variables="$(mapping name MMJAX_RUN_ID value "$run_id")"
if [[ -z $option_tpu ]] && ((option_hosts > 1)); then
  # On TPUs the cluster tells; here the first pod coordinates. Each reads its number itself, from
  # JOB_COMPLETION_INDEX.
  variables+=", $(mapping name MMJAX_COORDINATOR value "$name-hosts-0-0.$name:8476")"
  variables+=", $(mapping name MMJAX_NUM_PROCESSES value "$option_hosts")"
fi

annotations="{}" mounts="[]" volumes="[]"
if [[ $workdir == gs://* ]]; then
  split_bucket "$workdir"
  replace_workdir "$option_mount/$folder"
  annotations=$(mapping gke-gcsfuse/volumes true)
  options=$(mapping bucketName "$bucket" mountOptions "implicit-dirs,rename-dir-limit=100000,uid=1000,gid=1000")
  volumes="[{\"name\": \"runs\", \"csi\": {\"driver\": \"gcsfuse.csi.storage.gke.io\", \"volumeAttributes\": $options}}]"
elif [[ -n $option_claim ]]; then
  if in_bucket "$workdir"; then
    split_bucket "$workdir"
    replace_workdir "$option_mount/$folder"
  fi
  volumes="[{\"name\": \"runs\", \"persistentVolumeClaim\": $(mapping claimName "$option_claim")}]"
  [[ -z $workdir || $workdir == "$option_mount"/* ]] ||
    refuse "--workdir $workdir is not below --mount $option_mount" "--workdir $option_mount/RUN"
elif in_bucket "$workdir"; then
  refuse "Kubernetes mounts no $workdir by itself" \
    "--claim of a volume that is this bucket, by a driver that renames folders (csi-s3, JuiceFS; not Mountpoint)"
elif [[ -n $workdir ]]; then
  refuse "--workdir $workdir would go with the pod" "gs://BUCKET/RUN, or --claim with --workdir $option_mount/RUN"
fi
[[ $volumes == "[]" ]] || mounts="[$(mapping name runs mountPath "$option_mount")]"

# Kubernetes puts variables in where it reads $(NAME), and makes $( of $$(.
words=()
for word in "${command[@]}"; do
  words+=("${word//\$(/\$\$(}")
done

text=$(<"$launch/jobset.yaml")
if [[ -n $option_service_account ]]; then
  text=${text/restartPolicy/serviceAccountName: $(json "$option_service_account")$'\n'              restartPolicy}
fi
fill NAME "$name" NAMESPACE "$option_namespace" LABELS "$(mapping "${labels[@]}")" \
  RETRIES "$option_retries" HOSTS "$option_hosts" RETRY_CODES "${retry_codes// /, }" \
  ANNOTATIONS "$annotations" GRACE "$option_grace" NODES "$(mapping ${nodes[@]+"${nodes[@]}"})" \
  IMAGE "$(json "$option_image")" VARIABLES "[$variables]" LIMITS "$limits" MOUNTS "$mounts" \
  VOLUMES "$volumes" ARGUMENTS "$(list "${words[@]}")"

kube() {
  run kubectl "--namespace=$option_namespace" "$@"
}

if [[ $dry_run == yes ]]; then
  printf '%s\n' "$text"
  kube apply --filename=-
  exit 0
fi
ended=$(kube get jobset "$name" --ignore-not-found '--output=jsonpath={.status.terminalState}')
if [[ -n $ended ]]; then
  kube delete jobset "$name" --wait
fi
kube apply --filename=- <<<"$text"
[[ $option_detach == no ]] || exit 0
trap 'echo "launch: $name goes on by itself; kubectl delete jobset $name ends it" >&2; exit 130' INT TERM
while true; do
  ended=$(kube get jobset "$name" --ignore-not-found '--output=jsonpath={.status.terminalState}' 2>/dev/null || echo "")
  case $ended in
    Completed) exit 0 ;;
    Failed)
      # shellcheck disable=SC2046 # words are meant
      code=$(of_all $(kube get pods "--selector=jobset.sigs.k8s.io/jobset-name=$name" \
        '--output=jsonpath={.items[*].status.containerStatuses[*].state.terminated.exitCode}'))
      exit "$((code == 0 ? 1 : code))"
      ;;
  esac
  sleep "${MMJAX_POLL_SECONDS:-30}"
done
