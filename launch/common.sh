# shellcheck shell=bash
# Sourced by the launch scripts: their arguments, `--dry-run`, the run id, the workdir, the set-up.
# Works with bash 3.2, which macOS has.

launch=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/retry.sh
source "$launch/retry.sh"

# refuse WHAT FIX: ends as mmjax does on a user's error.
refuse() {
  echo "mmjax error MMX-100: $1 | fix: $2" >&2
  exit 2
}

# quoted WORD...: the words as one line that bash reads back as the same words.
quoted() {
  local word said line=""
  for word in "$@"; do
    said=$(printf '%q' "$word")
    # Easier to read than a backslash before every blank.
    [[ $said != *\\* || $said == \$\'* ]] || said="'${word//\'/\'\\\'\'}'"
    line+=" $said"
  done
  echo "${line# }"
}

# run WORD...: says a command, and runs it unless this is a dry run.
run() {
  if [[ $dry_run == yes ]]; then
    echo "+ $(quoted "$@")"
  else
    echo "+ $(quoted "$@")" >&2
    "$@"
  fi
}

# usage: the comment at the head of the script.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" | grep -v '^shellcheck'
}

# read_arguments "NAMES" "$@": sets $dry_run, $command (what mmjax is to do, with --resume) and
# $workdir. Options stand before `--`, or before the first word that is none; each is a variable
# option_NAME that the script gave its default, a flag where that is `no`. Words that begin with no
# command of mmjax are those of `mmjax train`.
read_arguments() {
  local names=" $1 " word name value
  shift
  dry_run=no
  while (($#)); do
    word=$1
    case $word in
      --) shift && break ;;
      --dry-run) dry_run=yes && shift && continue ;;
      -h | --help) usage && exit 0 ;;
      -*) ;;
      *) break ;;
    esac
    name=${word#--}
    name=option_${name%%=*}
    name=${name//-/_}
    [[ $names == *" ${name#option_} "* ]] ||
      refuse "$(basename "$0") has no option $word" "there are: dry-run$(options_of "$names")"
    if [[ $word == *=* ]]; then
      value=${word#*=}
    elif [[ ${!name} == no || ${!name} == yes ]]; then
      value=yes
    else
      (($# > 1)) || refuse "$word has no value" "$word VALUE"
      value=$2 && shift
    fi
    printf -v "$name" '%s' "$value"
    shift
  done
  (($#)) || refuse "there is nothing to run" "$(basename "$0") [options] -- train CONFIG.py --workdir RUN"
  [[ $1 =~ ^(train|fit|tune|cv|evaluate|predict|embed|compile|continue|export)$ ]] ||
    set -- train "$@"
  command=("$@")
  workdir=$(option_of --workdir "$@")
  if [[ $1 == train ]]; then
    [[ -n $workdir ]] || refuse "train has no --workdir" "--workdir RUN, where every attempt goes on"
    contains --resume "$@" || command+=(--resume)
  fi
  # shellcheck disable=SC2034 # for the scripts
  run_id=${MMJAX_RUN_ID:-$(id_of "${workdir:-$*}")}
}

options_of() {
  local name
  for name in $1; do
    printf ', %s' "${name//_/-}"
  done
}

# option_of --NAME WORD...: the value of an option among the words; empty if it is not there.
option_of() {
  local name=$1 before=""
  shift
  for word in "$@"; do
    [[ $word == "$name="* ]] && echo "${word#*=}" && return
    [[ $before == "$name" ]] && echo "$word" && return
    before=$word
  done
}

contains() {
  local wanted=$1 word
  shift
  for word in "$@"; do
    [[ $word == "$wanted" ]] && return 0
  done
  return 1
}

# id_of TEXT: a name that clouds accept, the same for the same workdir whoever asks.
id_of() {
  local name sum
  name=$(basename "$1" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '-')
  name=${name#-}
  sum=$(printf '%s' "$1" | cksum | cut -d ' ' -f 1)
  name=$(printf 'mmjax-%.24s' "$name")
  echo "${name%-}-$sum"
}

# replace_workdir PATH: another place for --workdir in $command.
replace_workdir() {
  local index
  for index in "${!command[@]}"; do
    case ${command[index]} in
      --workdir) command[index + 1]=$1 ;;
      --workdir=*) command[index]=--workdir=$1 ;;
    esac
  done
  workdir=$1
}

in_bucket() {
  [[ $1 == gs://* || $1 == s3://* ]]
}

# split_bucket URL: sets $bucket and $folder, the path in it.
split_bucket() {
  folder=${1#*://}
  bucket=${folder%%/*}
  folder=${folder#"$bucket"}
  folder=${folder#/}
  folder=${folder%/}
  [[ -n $folder ]] || refuse "--workdir $1 is a whole bucket" "${1%/}/RUN"
}

# mount_workdir: where the workdir is in a bucket, mounts the bucket and puts the run into the mount.
# Needs gcsfuse (gs://) or rclone with a remote called s3 (s3://).
mount_workdir() {
  local url=$workdir bucket folder mount
  in_bucket "$url" || return 0
  split_bucket "$url"
  mount=${MMJAX_MOUNTS:-${HOME:-/tmp}/.mmjax/mounts}/$bucket
  replace_workdir "$mount/$folder"
  run mkdir -p "$mount"
  if grep -qs " $mount " /proc/mounts; then
    return
  fi
  if [[ $url == gs://* ]]; then
    # Names of folders are implied by objects; a checkpoint's folder is renamed when it is whole.
    run gcsfuse --implicit-dirs --rename-dir-limit=100000 "$bucket" "$mount"
  else
    run rclone mount --daemon --vfs-cache-mode full "s3:$bucket" "$mount"
  fi
}

# prepare ACCELERATOR: sets $mmjax, the words that start mmjax; in a clone of the repository its
# environment is made first. ACCELERATOR is cpu (nothing more), tpu, cuda12 or cuda13.
prepare() {
  local interpreter=${MMJAX_INTERPRETER:-} version
  if [[ -z $interpreter && -f $launch/../requirements.lock && -f $launch/../pyproject.toml ]]; then
    if [[ $dry_run == yes ]]; then
      echo "+ source $(quoted "$launch/setup.sh")"
      interpreter=$(dirname "$launch")/.venv/bin/python
    else
      # shellcheck source=launch/setup.sh
      source "$launch/setup.sh"
      interpreter=$python
    fi
  fi
  interpreter=${interpreter:-python3}
  # shellcheck disable=SC2034 # for the scripts
  mmjax=("$interpreter" -m mmjax)
  if [[ $1 != cpu ]]; then
    version="the installed version"
    [[ $dry_run == yes ]] || version=$("$interpreter" -c 'import jax; print(jax.__version__)')
    run "$interpreter" -m pip install --disable-pip-version-check -q "jax[$1]==$version"
  fi
}
