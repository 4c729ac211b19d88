"""`wave control rerun`: ask that agents, or a phase, run again. Spec: COORD 25.5, LAUNCH 12."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError
from .arguments import JSON, TEXT, Command, Flag, Parsed
from .subcommands import PLACE, Verb, flag_value, ids_flag, ids_of, print_json, scene_of

if TYPE_CHECKING:
    from ..runtime.wave_scene import WaveScene

    JsonObject = dict[str, Any]

REQUEST = Command(
    "control rerun request",
    "Ask that agents run again with the next launch: named ones, or those of a phase.",
    (
        *PLACE,
        ids_flag("--agent", "run exactly these agents", "--agents"),
        Flag("--resume-cursor", TEXT, "run the agents of this phase", metavar="phase", aliases=("--resume-phase",)),
        ids_flag("--reuse-attempt", "reuse results of these attempts only"),
        ids_flag("--reuse-proof", "let only these proof bundles count"),
        Flag("--reuse-derived-summaries", TEXT, "whether earlier summaries count", "true|false", default="true"),
        ids_flag("--invalidate-component", "owners of these components are not reused"),
        ids_flag("--clear-reuse", "never reuse an earlier result of these agents"),
        ids_flag("--preserve-reuse", "reuse these agents' results in spite of a changed prompt"),
        Flag("--requested-by", TEXT, "who asks", metavar="name", default="human-operator"),
        Flag("--reason", TEXT, "why", metavar="text"),
        JSON,
    ),
)
GET = Command("control rerun get", "Show the active request and whom it selects.", (*PLACE, JSON))
CLEAR = Command("control rerun clear", "Withdraw the active request.", (*PLACE, JSON))


def request(given: Parsed, root: str) -> int:
    """`control rerun request`."""
    from ..engines.phases import RESUME_PHASES
    from ..runtime.operator_actions import settle
    from ..state.retry_state import request_rerun

    cursor, agents = given.text("resume-cursor"), ids_of(given, "agent")
    if cursor is not None and cursor not in RESUME_PHASES:
        raise UsageError(f"--resume-cursor must be one of: {', '.join(RESUME_PHASES)} (got: {cursor})")
    if not agents and cursor is None:
        raise UsageError("rerun request requires --agent or --resume-cursor")
    scene = scene_of(given, root)
    cleared, preserved = ids_of(given, "clear-reuse"), ids_of(given, "preserve-reuse")
    scene.require_agents([*agents, *cleared, *preserved])
    reuse = flag_value(given, "reuse-derived-summaries")
    fields = {
        "selectedAgentIds": agents,
        "resumeCursor": cursor,
        "reuseAttemptIds": ids_of(given, "reuse-attempt"),
        "reuseProofBundleIds": ids_of(given, "reuse-proof"),
        "reuseDerivedSummaries": True if reuse is None else reuse,
        "invalidateComponentIds": ids_of(given, "invalidate-component"),
        "clearReusableAgentIds": cleared,
        "preserveReusableAgentIds": preserved,
        "requestedBy": given.text("requested-by") or "human-operator",
        "reason": given.text("reason"),
        "applyOnce": True,
    }
    written = request_rerun(scene.paths, scene.number, fields)
    settle(scene)
    print_json(_document(scene, written))
    return ExitCode.DONE


def get(given: Parsed, root: str) -> int:
    """`control rerun get`."""
    from ..state.retry_state import active_rerun_request, read_relaunch_plan

    scene = scene_of(given, root)
    active = active_rerun_request(scene.paths, scene.number)
    print_json({**_document(scene, active), "relaunchPlan": read_relaunch_plan(scene.paths, scene.number)})
    return ExitCode.DONE


def clear(given: Parsed, root: str) -> int:
    """`control rerun clear`."""
    from ..runtime.operator_actions import settle
    from ..state.retry_state import clear_rerun_requests

    scene = scene_of(given, root)
    cleared = clear_rerun_requests(scene.paths, scene.number, actor="human-operator")
    settle(scene)
    if given.has("json"):
        print_json({"lane": scene.paths.lane, "wave": scene.number, "clearedRequestIds": cleared})
    else:
        print(f"[wave-control] cleared rerun request for wave {scene.number}")
    return ExitCode.DONE


def _document(scene: WaveScene, active: JsonObject | None) -> JsonObject:
    from ..engines.rerun_override import effective_selection

    effective = effective_selection(active, scene.wave, scene.bindings) if active else ()
    return {
        "lane": scene.paths.lane,
        "wave": scene.number,
        "rerunRequest": active,
        "effectiveSelectedAgentIds": list(effective),
    }


RERUN_VERBS = {
    "rerun request": Verb(REQUEST, request),
    "rerun get": Verb(GET, get),
    "rerun clear": Verb(CLEAR, clear),
}
