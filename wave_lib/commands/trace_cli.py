"""`wave trace replay` and `wave trace validate`: judge a stored attempt again, check its bundle. Spec: LAUNCH 18."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError, WaveError
from .arguments import JSON, LANE, POSITIVE, PROJECT, TEXT, WAVE, Command, Flag, read

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = Command(
    "trace",
    "Judge a stored attempt again from its trace bundle (replay), or check that the bundle is whole (validate).",
    (
        PROJECT,
        LANE,
        WAVE,
        Flag("--attempt", POSITIVE, "number of the attempt", metavar="n"),
        Flag("--run", TEXT, "an ad-hoc run instead of a lane's wave", metavar="id"),
        Flag("--dir", TEXT, "a bundle anywhere, in place of lane, wave and attempt", metavar="path"),
        JSON,
    ),
    ("replay|validate",),
    1,
    "Exit code: 0 when the bundle is valid and, for replay, gates and quality come out as stored; else 1.",
)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave trace`."""
    given = read(COMMAND, argv)
    if given is None:
        return ExitCode.DONE
    verb = given.positionals[0]
    directory = given.text("dir") or _bundle_dir(given.values, root)
    if not os.path.isdir(directory):
        raise WaveError("no trace bundle here", directory, "`ls` its parent shows the attempts that have one")
    if verb == "validate":
        return _validate(directory, given.has("json"))
    return _replay(directory, given.has("json"))


def _bundle_dir(values: dict[str, Any], root: str) -> str:
    from ..definition.config import load_wave_config
    from ..definition.lane_paths import build_lane_paths

    wave = values.get("wave", 0 if "run" in values else None)
    if wave is None:
        raise UsageError("--wave is required")
    if "attempt" not in values:
        raise UsageError("--attempt is required")
    config = load_wave_config(root)
    paths = build_lane_paths(config, values.get("lane"), values.get("project"), adhoc_run_id=values.get("run"))
    return paths.trace_dir(wave, values["attempt"])


def _validate(directory: str, as_json: bool) -> int:
    from ..projections.trace_bundle import validate_trace_bundle

    found = validate_trace_bundle(directory)
    if as_json:
        print(json.dumps({**found.to_json(), "bundle": directory}, indent=2, ensure_ascii=False))
    else:
        print(f"[trace] {directory}: {'valid' if found.ok else 'invalid'} ({found.replay_mode})")
        for line in (*found.errors, *(f"warning: {warning}" for warning in found.warnings)):
            print(f"[trace]   {line}")
    return ExitCode.DONE if found.ok else ExitCode.FAILED


def _replay(directory: str, as_json: bool) -> int:
    from ..runtime.replay import replay_trace_bundle

    result = replay_trace_bundle(directory)
    valid = result["validation"]["ok"]
    matches = valid and result["matchesStoredGateSnapshot"] and result["matchesStoredQuality"]
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
        return ExitCode.DONE if matches else ExitCode.FAILED
    if not valid:
        print(f"[trace] {directory}: invalid")
        for error in result["validation"]["errors"]:
            print(f"[trace]   {error}")
        return ExitCode.FAILED
    overall = result["gateSnapshot"]["overall"]
    print(f"[trace] wave {result['wave']}: {overall['gate']} ({overall['statusCode']}) {overall['detail']}".rstrip())
    for name, title in (("gateSnapshot", "gates"), ("quality", "quality")):
        comparison = result["comparison"][name]
        shown = "as stored" if comparison["matches"] else f"differ at {', '.join(comparison['diffPaths'])}"
        print(f"[trace] {title}: {shown}")
    return ExitCode.DONE if matches else ExitCode.FAILED
