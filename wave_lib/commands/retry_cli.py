"""`wave retry`: choose what the next attempt of a wave runs. Spec: LAUNCH 12.4."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError, WaveError
from .arguments import JSON, LANE, PROJECT, TEXT, WAVE, Command, Flag, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..definition.wave_types import Wave
    from ..runtime.wave_scene import WaveScene
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


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave retry`."""
    given = read(COMMAND, argv)
    if given is None:
        return ExitCode.DONE
    verb = given.positionals[0]
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


def _target(given: Parsed, root: str) -> WaveScene:
    from ..runtime.wave_scene import lane_paths, open_wave

    run_id = given.text("run")
    number = given.values.get("wave", 0 if run_id else None)
    if number is None:
        raise UsageError("--wave is required")
    return open_wave(lane_paths(root, given.text("project"), given.text("lane"), run_id), number)


def _show(target: WaveScene) -> JsonObject:
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


def _apply(target: WaveScene, given: Parsed) -> JsonObject:
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


def _clear(target: WaveScene) -> None:
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


def _effective(request: JsonObject | None, target: WaveScene) -> list[str]:
    from ..engines.rerun_override import effective_selection

    return list(effective_selection(request, target.wave, target.bindings)) if request else []


def _override(request: JsonObject | None) -> JsonObject | None:
    """The request under the names of this command: `resumePhase`, and its id."""
    if request is None:
        return None
    kept = {key: value for key, value in request.items() if key not in ("resumeCursor", "state", "updatedAt")}
    return {**kept, "resumePhase": request.get("resumeCursor")}
