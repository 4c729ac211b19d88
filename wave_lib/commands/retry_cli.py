"""`wave retry`: choose what the next attempt of a wave runs. Spec: LAUNCH 12.4."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import ConfigError, ExitCode, UsageError, WaveError
from .arguments import JSON, LANE, PROJECT, TEXT, WAVE, Command, Flag, parse, usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from .arguments import Parsed

    JsonObject = dict[str, Any]


def _ids_flag(name: str, text: str, *aliases: str) -> Flag:
    return Flag(name, TEXT, text, metavar="id[,id]", repeatable=True, aliases=aliases)


COMMAND = Command(
    "retry",
    "Show, set or clear the choice of what the next attempt of a wave runs.",
    (
        PROJECT,
        LANE,
        WAVE,
        Flag("--run", TEXT, "an ad-hoc run; sets project and lane, the wave defaults to 0", metavar="id"),
        _ids_flag("--agent", "run exactly these agents", "--agents"),
        _ids_flag("--clear-reuse", "never reuse an earlier result of these agents"),
        _ids_flag("--preserve-reuse", "reuse these agents' results in spite of a changed prompt"),
        Flag("--resume-phase", TEXT, "run the agents of this phase when none is named", metavar="phase"),
        Flag("--requested-by", TEXT, "who asks", metavar="name", default="human-operator"),
        Flag("--reason", TEXT, "why", metavar="text"),
        JSON,
    ),
    ("show|apply|clear",),
    1,
)


class _Target(NamedTuple):
    """The wave that a command is about."""

    paths: LanePaths
    wave: Wave
    bindings: RoleBindings


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave retry`."""
    if not argv:
        print(usage(COMMAND), end="")
        return ExitCode.DONE
    given = parse(COMMAND, argv)
    if given.help:
        print(usage(COMMAND), end="")
        return ExitCode.DONE
    verb = given.positionals[0]
    if verb not in ("show", "apply", "clear"):
        raise UsageError("Expected subcommand: show | apply | clear")
    target = _target(given, root)
    if verb == "show":
        _print(_show(target))
    elif verb == "apply":
        _print(_apply(target, given))
    else:
        _clear(target)
    return ExitCode.DONE


def _print(document: JsonObject) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _target(given: Parsed, root: str) -> _Target:
    from ..definition.config import load_wave_config
    from ..definition.lane_paths import build_lane_paths
    from ..definition.roles import resolve_wave_role_bindings
    from ..definition.wave_files import parse_wave_file
    from ..runtime import telemetry_step

    run_id = given.text("run")
    number = given.values.get("wave", 0 if run_id else None)
    if number is None:
        raise UsageError("--wave is required")
    project, lane = given.text("project"), given.text("lane")
    if run_id:
        project, lane = _adhoc_place(root, run_id, project, lane)
    paths = build_lane_paths(load_wave_config(root), lane, project, adhoc_run_id=run_id)
    telemetry_step.install(paths)
    from os.path import isfile

    path = paths.wave_file(number)
    if not isfile(path):
        raise ConfigError(f"Wave {number} not found in {paths.rel(paths.waves_dir)}")
    wave = parse_wave_file(path, paths.profile, root)
    return _Target(paths, wave, resolve_wave_role_bindings(wave, paths.profile.roles))


def _adhoc_place(root: str, run_id: str, project: str | None, lane: str | None) -> tuple[str | None, str | None]:
    """Project and lane as the ad-hoc run's record has them; flags win."""
    import glob
    import os

    from ..base.files import read_json

    store = os.path.join(root, ".wave", "adhoc")
    places = glob.glob(os.path.join(glob.escape(store), "*", "runs", glob.escape(run_id), "result.json"))
    legacy = os.path.join(store, "runs", run_id, "result.json")
    for place in [*([legacy] if os.path.isfile(legacy) else []), *sorted(places)]:
        record = read_json(place).value
        if isinstance(record, dict):
            return project or record.get("project"), lane or record.get("lane")
    return project, lane


def _show(target: _Target) -> JsonObject:
    from ..state.retry_state import active_rerun_request, read_relaunch_plan

    number = target.wave.wave
    request = active_rerun_request(target.paths, number)
    return {
        "wave": number,
        "lane": target.paths.lane,
        "override": _override(request),
        "effectiveSelectedAgentIds": _effective(request, target),
        "relaunchPlan": read_relaunch_plan(target.paths, number),
    }


def _apply(target: _Target, given: Parsed) -> JsonObject:
    from ..engines.phases import RESUME_PHASES
    from ..state.retry_state import request_rerun

    agents, cleared = _ids(given.texts("agent")), _ids(given.texts("clear-reuse"))
    preserved = _ids(given.texts("preserve-reuse"))
    phase = given.text("resume-phase")
    if phase is not None and phase not in RESUME_PHASES:
        raise UsageError(f"--resume-phase must be one of: {', '.join(RESUME_PHASES)} (got: {phase})")
    _require_known(target.wave, [*agents, *cleared, *preserved])
    if not agents and phase is None:
        raise UsageError("apply requires --agent/--agents or --resume-phase")
    fields = {
        "selectedAgentIds": agents,
        "resumeCursor": phase,
        "clearReusableAgentIds": cleared,
        "preserveReusableAgentIds": preserved,
        "requestedBy": given.text("requested-by") or "human-operator",
        "reason": given.text("reason"),
        "applyOnce": True,
    }
    request = request_rerun(target.paths, target.wave.wave, fields)
    return {
        "wave": target.wave.wave,
        "lane": target.paths.lane,
        "override": _override(request),
        "effectiveSelectedAgentIds": _effective(request, target),
    }


def _clear(target: _Target) -> None:
    from ..state.retry_state import clear_rerun_requests

    clear_rerun_requests(target.paths, target.wave.wave, actor="human-operator")
    print(f"[wave-retry] cleared override for wave {target.wave.wave}")


def _ids(values: Iterable[str]) -> list[str]:
    names = (name.strip() for value in values for name in value.split(","))
    return list(dict.fromkeys(name for name in names if name))


def _require_known(wave: Wave, agent_ids: Iterable[str]) -> None:
    unknown = sorted({agent_id for agent_id in agent_ids if wave.agent(agent_id) is None})
    if unknown:
        raise WaveError(f"Unknown wave agent id{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}")


def _effective(request: JsonObject | None, target: _Target) -> list[str]:
    from ..engines.rerun_override import effective_selection

    return list(effective_selection(request, target.wave, target.bindings)) if request else []


def _override(request: JsonObject | None) -> JsonObject | None:
    """The request under the names of this command: `resumePhase`, and its id."""
    if request is None:
        return None
    kept = {key: value for key, value in request.items() if key not in ("resumeCursor", "state", "updatedAt")}
    return {**kept, "resumePhase": request.get("resumeCursor")}
