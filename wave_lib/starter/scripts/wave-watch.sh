#!/bin/sh
# Print the signal line of a wave at the start and at each change, until the wave ends or needs input.
#
#   wave-watch.sh [--lane <lane>] [--project <id>] [--wave <n>] [--agent <id>] [--run <id>] [--dry-run]
#                 [--refresh-ms <n>] [--follow | --until-change] [--timeout-seconds <n>]
#
# exit  0 completed   10 timeout reached   20 input required   30 changed (--until-change)   40 failed
#       1 the CLI failed   2 usage
set -u

usage() {
  echo "usage: wave-watch.sh [--lane <lane>] [--project <id>] [--wave <n>] [--agent <id>] [--run <id>] [--dry-run]" \
    "[--refresh-ms <n>] [--follow|--until-change] [--timeout-seconds <n>]"
}

fail_usage() {
  echo "[wave] $1" >&2
  usage >&2
  exit 2
}

whole() {
  case $2 in
    '' | *[!0-9]*) fail_usage "$1 must be a whole number, got: $2" ;;
  esac
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
refresh_ms=2000
until_change=no
timeout=
count=$#
while [ "$count" -gt 0 ]; do
  flag=$1
  shift
  count=$((count - 1))
  case $flag in
    --follow) until_change=no ;;
    --until-change) until_change=yes ;;
    --dry-run) set -- "$@" --dry-run ;;
    --lane | --project | --wave | --agent | --run | --refresh-ms | --timeout-seconds)
      if [ "$count" -eq 0 ]; then fail_usage "$flag requires a value"; fi
      value=$1
      shift
      count=$((count - 1))
      case $flag in
        --refresh-ms)
          whole "$flag" "$value"
          refresh_ms=$value
          ;;
        --timeout-seconds)
          whole "$flag" "$value"
          timeout=$value
          ;;
        *) set -- "$@" "$flag" "$value" ;;
      esac
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) fail_usage "Unknown argument: $flag" ;;
  esac
done
if [ "$refresh_ms" -lt 200 ]; then refresh_ms=200; fi
pause=$(printf '%d.%03d' $((refresh_ms / 1000)) $((refresh_ms % 1000)))

# The part of the line that moves when something happened.
moved() {
  case $1 in
    *" version="*)
      rest=${1##* version=}
      printf '%s %s' "${1%% *}" "${rest%% *}"
      ;;
    *) printf '%s' "$1" ;;
  esac
}

started=$(date +%s)
last=
while :; do
  line=$("$here/wave-status.sh" "$@")
  code=$?
  case $code in
    0 | 10 | 20 | 40) ;;
    *) exit "$code" ;;
  esac
  if [ "$line" != "$last" ]; then printf '%s\n' "$line"; fi
  if [ "$code" -ne 10 ]; then exit "$code"; fi
  if [ "$until_change" = yes ] && [ -n "$last" ] && [ "$(moved "$line")" != "$(moved "$last")" ]; then exit 30; fi
  last=$line
  if [ -n "$timeout" ] && [ $(($(date +%s) - started)) -ge "$timeout" ]; then exit 10; fi
  sleep "$pause"
done
