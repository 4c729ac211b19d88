#!/bin/sh
# Print one line about a wave (or one agent of it) and say by the exit code what to do next.
#
#   wave-status.sh [--lane <lane>] [--project <id>] [--wave <n>] [--agent <id>] [--run <id>] [--dry-run] [--json]
#
# exit  0 completed   10 waiting or running   20 input required   40 failed   1 the CLI failed   2 usage
set -u

usage() {
  echo "usage: wave-status.sh [--lane <lane>] [--project <id>] [--wave <n>] [--agent <id>] [--run <id>] [--dry-run] [--json]"
}

# The workspace is the folder above this script; the CLI is found there, on PATH, or as a Python module.
workspace=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
run_wave() {
  if [ -n "${WAVE_WRAPPER_ENTRY:-}" ]; then
    case $WAVE_WRAPPER_ENTRY in
      *.py) "${PYTHON:-python3}" "$WAVE_WRAPPER_ENTRY" "$@" ;;
      *) "$WAVE_WRAPPER_ENTRY" "$@" ;;
    esac
  elif [ -f "$workspace/scripts/wave.py" ]; then
    "${PYTHON:-python3}" "$workspace/scripts/wave.py" "$@"
  elif [ -f "$workspace/wave.py" ]; then
    "${PYTHON:-python3}" "$workspace/wave.py" "$@"
  elif command -v wave >/dev/null 2>&1; then
    wave "$@"
  elif "${PYTHON:-python3}" -c 'import wave_lib' >/dev/null 2>&1; then
    "${PYTHON:-python3}" -m wave_lib "$@"
  else
    echo "[wave] no wave program found: set WAVE_WRAPPER_ENTRY, or put wave.py into the workspace or wave on PATH" >&2
    return 2
  fi
}

json=no
agent=
count=$#
while [ "$count" -gt 0 ]; do
  flag=$1
  shift
  count=$((count - 1))
  case $flag in
    --json) json=yes ;;
    --dry-run) set -- "$@" --dry-run ;;
    --lane | --project | --wave | --agent | --run)
      if [ "$count" -eq 0 ]; then
        echo "[wave] $flag requires a value" >&2
        usage >&2
        exit 2
      fi
      if [ "$flag" = --agent ]; then agent=$1; fi
      value=$1
      shift
      count=$((count - 1))
      set -- "$@" "$flag" "$value"
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      echo "[wave] Unknown argument: $flag" >&2
      usage >&2
      exit 2
      ;;
  esac
done

payload=$(run_wave control status "$@" --json --repo-root "${WAVE_REPO_ROOT:-$workspace}")
code=$?
if [ "$code" -ne 0 ]; then
  if [ "$code" -eq 2 ]; then exit 2; fi
  exit 1
fi
if [ "$json" = yes ]; then
  printf '%s\n' "$payload"
  exit 0
fi

# The payload is read from stdin; the agent's name decides whose signal is shown.
printf '%s\n' "$payload" | "${PYTHON:-python3}" -c '
import json, sys

wanted = sys.argv[1]
try:
    payload = json.load(sys.stdin)
    signals = payload["signals"]
    if wanted:
        rows = [item for item in signals["agents"] + [signals.get("resident") or {}]
                if str(item.get("agentId", "")).lower() == wanted.lower()]
        if not rows:
            sys.exit("[wave] no signal of agent %s" % wanted)
        signal = rows[0]
    else:
        signal = signals["wave"]
except (ValueError, KeyError, TypeError) as error:
    print("[wave] unexpected output of control status: %s" % error, file=sys.stderr)
    sys.exit(1)

edge = signal.get("blocking") or payload.get("blockingEdge") or {}
blocking = edge.get("kind") or "none" if isinstance(edge, dict) else str(edge)
wake = signal.get("shouldWake")
who = ("agent=%s" % signal["agentId"] if wanted
       else "agents=%s" % (",".join(signal.get("targetAgentIds") or ()) or "none"))
print("signal=%s lane=%s wave=%s phase=%s status=%s blocking=%s attempt=%s %s version=%s should_wake=%s" % (
    signal.get("signal"), signal.get("lane", payload.get("lane")), signal.get("wave", payload.get("wave")),
    signal.get("phase"), signal.get("status"), blocking, signal.get("attempt") or 0, who, signal.get("version", 0),
    "n/a" if wake is None else "yes" if wake else "no"))
sys.exit({"completed": 0, "failed": 40, "feedback-requested": 20}.get(signal.get("signal"), 10))
' "$agent"
