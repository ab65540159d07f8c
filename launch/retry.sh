# shellcheck shell=bash
# Sourced by the launch scripts: what happens after each exit code is said here, and nowhere else.
#   0   done
#   42  preempted and saved: tried again, as often as it takes
#   75  transient (a full disk, a lost peer, a hang): tried again, with a limit
#   129 134 135 137 138 139 143  ended by HUP, ABRT, BUS, KILL, USR1, SEGV, TERM: as 75
#   2   the user's or the data's error, 3 loss or gradients not finite, any other: not tried again

saved_code=42
retry_codes="42 75 129 134 135 137 138 139 143"

# verdict CODE: done, retry or stop.
verdict() {
  local code
  ((${1} == 0)) && echo "done" && return
  for code in $retry_codes; do
    ((code == ${1})) && echo "retry" && return
  done
  echo "stop"
}

# of_all CODE...: the code of a job from those of its processes, one that forbids a retry first.
of_all() {
  local code found=0
  for code in "$@"; do
    case $(verdict "$code") in
      stop) echo "$code" && return ;;
      retry) ((found == 0 || found == saved_code)) && found=$code ;;
    esac
  done
  echo "$found"
}

# with_retries TIMES COMMAND...: runs a command until it is done or must not be tried again, and
# returns its last code. It is tried again at most TIMES in a row without a save; an attempt that
# lasted half an hour begins the count anew. A signal to the script itself ends the trying:
# `stop_asked` is then set.
with_retries() {
  local times=$1 failed=0 code began delay
  shift
  while true; do
    code=0
    began=$SECONDS
    "$@" || code=$?
    [[ $(verdict "$code") == retry && -z ${stop_asked:-} ]] || return "$code"
    ((SECONDS - began < 1800)) || failed=0
    delay=0
    if ((code == saved_code)); then
      failed=0
    else
      failed=$((failed + 1))
      if ((failed > times)); then
        echo "launch: exit code $code, $failed times without a save between: giving up" >&2
        return "$code"
      fi
      delay=$((${MMJAX_RETRY_SECONDS:-10} * (1 << (failed < 6 ? failed - 1 : 5))))
    fi
    echo "launch: exit code $code: trying again in $delay s" >&2
    sleep "$delay"
    [[ -z ${stop_asked:-} ]] || return "$code"
  done
}
