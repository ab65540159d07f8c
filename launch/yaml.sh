# shellcheck shell=bash
# Sourced, after common.sh, by the scripts that fill in a YAML file: words as JSON, which YAML reads.

# json WORD: as a string of JSON, and so of YAML.
json() {
  local word=$1 control
  word=${word//\\/\\\\}
  word=${word//\"/\\\"}
  word=${word//$'\n'/\\n}
  word=${word//$'\t'/\\t}
  control=$(printf '%s' "$word" | LC_ALL=C tr -cd '\001-\037')
  [[ -z $control ]] || refuse "an argument has control characters" "take them out"
  printf '"%s"' "$word"
}

# mapping KEY VALUE ...: as a mapping of JSON.
mapping() {
  local line=""
  while (($#)); do
    line+=", $(json "$1"): $(json "$2")"
    shift 2
  done
  printf '{%s}' "${line#, }"
}

list() {
  local word line=""
  for word in "$@"; do
    line+=", $(json "$word")"
  done
  printf '[%s]' "${line#, }"
}

# fill KEY VALUE ...: puts each value where @KEY@ stands in $text, at once, so that values may hold
# such words themselves.
fill() {
  local done="" rest=$text key
  while [[ $rest =~ @([A-Z_]+)@ ]]; do
    key=${BASH_REMATCH[1]}
    done+=${rest%%"@$key@"*}$(value_of "$key" "$@")
    rest=${rest#*"@$key@"}
  done
  text=$done$rest
}

value_of() {
  local key=$1
  shift
  while (($#)); do
    [[ $1 != "$key" ]] || { printf '%s' "$2" && return; }
    shift 2
  done
}
