"""`wave control`: what an operator sees of a wave and does to it. Spec: COORD 25.

The verbs stand in one table; those of tasks, reruns and proof are in modules of their own beside this one.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..base.errors import ExitCode, UsageError
from .arguments import JSON, LANE, PROJECT, SWITCH, TEXT, Command, Flag, Parsed
from .control_proof_cli import PROOF_VERBS
from .control_rerun_cli import RERUN_VERBS
from .control_task_cli import TASK_VERBS
from .subcommands import PLACE, RUN, Verb, commands_of, print_json, run_verb, scene_of
from .watch_cli import WATCH, watch

if TYPE_CHECKING:
    from collections.abc import Sequence

_AGENT = Flag("--agent", TEXT, "only what concerns this agent", metavar="id")
STATUS = Command(
    "control status",
    "Show how a wave stands: phase, what blocks it, every agent, the next deadline.",
    (*PLACE, _AGENT, JSON, Flag("--exit-code", SWITCH, "exit with the code of the signal")),
    notes="Without --wave: the wave at work, else the last one. Codes of --exit-code: 0 completed, 10 under way, "
    "20 a person is asked, 40 failed.",
)
ADJUDICATION = Command(
    "control adjudication get",
    "Show what became of unreadable marker lines.",
    (*PLACE, _AGENT, JSON),
)
TELEMETRY = Command(
    "control telemetry",
    "Show the queue of telemetry events (status), send it (flush), or queue again what was given up (requeue).",
    (PROJECT, LANE, RUN, JSON),
    ("status|flush|requeue",),
    1,
)


def status(given: Parsed, root: str) -> int:
    """`control status`."""
    from ..base.terminal import Style
    from ..projections.control_status import status_lines
    from ..projections.signals import RESIDENT, wave_signal_exit_code
    from ..runtime.control_status import chosen_signal, read_payload

    scene = scene_of(given, root, default_wave=True)
    agent_id = given.text("agent")
    if agent_id is not None and agent_id != RESIDENT:
        scene.require_agents([agent_id])
    payload = read_payload(scene, agent_id, only_open=not given.has("json"))
    signal = chosen_signal(payload)
    if given.has("json"):
        print_json(payload)
    else:
        print("\n".join(status_lines(payload, signal, Style.of(sys.stdout, os.environ))))
    return wave_signal_exit_code(signal) if given.has("exit-code") else ExitCode.DONE


def adjudications(given: Parsed, root: str) -> int:
    """`control adjudication get`."""
    from ..state.closure_adjudication import read_adjudications

    scene = scene_of(given, root)
    agent_id = given.text("agent")
    if agent_id is not None:
        scene.require_agents([agent_id])
    found = read_adjudications(scene.paths, scene.number, agent_id)
    rows = [{**item, "filePath": scene.paths.rel(item["filePath"])} for item in found]
    print_json({"lane": scene.paths.lane, "wave": scene.number, "adjudications": rows})
    return ExitCode.DONE


def telemetry(given: Parsed, root: str) -> int:
    """`control telemetry status|flush|requeue`. Spec: PROV 9."""
    from .control_telemetry_cli import telemetry_document

    operation = given.positionals[0]
    if operation not in ("status", "flush", "requeue"):
        raise UsageError("Expected subcommand: status | flush | requeue", "wave control telemetry")
    document, code = telemetry_document(given, root, operation)
    print_json(document)
    return code


VERBS = {
    "status": Verb(STATUS, status),
    "watch": Verb(WATCH._replace(name="control watch"), watch),
    **TASK_VERBS,
    **RERUN_VERBS,
    **PROOF_VERBS,
    "adjudication get": Verb(ADJUDICATION, adjudications),
    "telemetry": Verb(TELEMETRY, telemetry),
}
COMMANDS = commands_of(VERBS)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave control`."""
    return run_verb("control", "Status and operator actions of one wave.", VERBS, argv, root)
