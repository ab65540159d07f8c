# shellcheck shell=bash disable=SC2154 # common.sh sets what is not set here
# Sourced, after common.sh, by the scripts that train on other machines: what is sent there, what is
# run there, and how its exit code comes back.

# source_folder: the clone that the scripts lie in, else the folder that one stands in.
source_folder() {
  if [[ -f $launch/../pyproject.toml ]]; then
    dirname "$launch"
  else
    pwd
  fi
}

# require_lasting_workdir: a relative path would be on a disk that goes with the machine.
require_lasting_workdir() {
  [[ -z $workdir || $workdir == /* ]] || in_bucket "$workdir" ||
    refuse "--workdir $workdir is on the machine's own disk, which goes with it" \
      "gs://BUCKET/RUN, s3://BUCKET/RUN, or the absolute path of a disk that stays"
}

# pack SOURCE ARCHIVE: the folder that is sent, without what is made anew; launch/ is always in it.
pack() {
  local words=(tar -czf "$2" --exclude=./.git --exclude=./.venv --exclude=./.cache --exclude=./runs)
  words+=(--exclude=__pycache__ -C "$1" .)
  [[ -f $1/launch/local.sh ]] || words+=(-C "$(dirname "$launch")" launch)
  run "${words[@]}"
}

# there ACCELERATOR SETUP VARIABLE=VALUE...: one command line for the other machine's shell. It
# unpacks what was sent, sets up, runs, leaves the number of its process in a file, and says its
# exit code in its last line.
there() {
  local accelerator=$1 setup=${2:-:} line
  shift 2
  line=$(quoted env "$@" "MMJAX_RUN_ID=$run_id" bash launch/local.sh --accelerator "$accelerator" \
    --retries 0 -- "${command[@]}")
  printf '%s\n' "set -e; mkdir -p $run_id; tar -xzf $run_id.tar.gz -C $run_id; cd $run_id; $setup; \
set +e; $line & echo \$! >pid; wait \$!; code=\$?; echo \"mmjax exit code \$code\"; exit \$code"
}

# told_in LOG CODE: the job's exit code from what the machines said, and CODE of the connection.
# A machine that said nothing was lost, which may pass.
told_in() {
  local codes found
  codes=$(sed -n 's/^.*mmjax exit code \([0-9][0-9]*\)$/\1/p' "$1")
  # shellcheck disable=SC2086 # words are meant
  found=$(of_all $codes)
  if ((found != 0)); then
    echo "$found"
  elif (($2 == 0)); then
    echo 0
  else
    echo 75
  fi
}

# watched LOG COMMAND...: runs a command that trains elsewhere and keeps what it says. A signal to
# the script is passed on by `stop_there`, which the script defines; the command then ends by itself.
watched() {
  local log=$1 code process
  shift
  echo "+ $(quoted "$@")" >&2
  # In a process group of its own, so that Ctrl-C does not cut the connection.
  set -m
  { "$@" 2>&1 || echo "connection exit code $?"; } > >(tee "$log") &
  process=$!
  set +m
  while kill -0 "$process" 2>/dev/null; do
    wait "$process" || true
  done
  sleep 0.1 # tee may still write
  code=$(sed -n 's/^connection exit code //p' "$log" | tail -n 1)
  return "$(told_in "$log" "${code:-0}")"
}

on_signals() {
  local signal
  for signal in INT TERM HUP; do
    # shellcheck disable=SC2064
    trap "stop_asked=$signal; echo 'launch: $signal: asking the run to save and stop' >&2; stop_there" "$signal"
  done
}
