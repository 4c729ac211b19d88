"""`wave watch`: wait for something to happen to a wave, and say by the exit code what. Spec: COORD 27."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode
from .arguments import COUNT, POSITIVE, SWITCH, TEXT, Command, Flag, read
from .subcommands import PLACE, scene_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..runtime.derived_state import DerivedContext
    from ..runtime.wave_scene import WaveScene
    from .arguments import Parsed

    JsonObject = dict[str, Any]

_UNDER_WAY = 10
WATCH = Command(
    "watch",
    "Print the signal line of a wave at the start and at each change, until it ends or needs a person.",
    (
        *PLACE,
        Flag("--agent", TEXT, "the signal of this agent", metavar="id"),
        Flag("--follow", SWITCH, "go on until the wave ends or needs a person (this is the default)"),
        Flag("--until-change", SWITCH, "stop at the first change"),
        Flag("--refresh-ms", POSITIVE, "look at least this often", metavar="ms", default="2000"),
        Flag("--timeout-seconds", COUNT, "give up after this time", metavar="s"),
    ),
    notes="Exit code: 0 completed, 10 time is up, 20 a person is asked, 30 changed (--until-change), 40 failed.",
)
COMMAND = WATCH


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave watch`."""
    given = read(WATCH, argv)
    if given is None:
        return ExitCode.DONE
    return watch(given, root)


def watch(given: Parsed, root: str) -> int:
    """Watch one wave; returns the exit code."""
    from ..base.event_loop import EventLoop
    from ..projections.signals import RESIDENT, signal_line, wave_signal_exit_code
    from ..runtime.wave_scene import derived_context

    scene = scene_of(given, root, default_wave=True)
    agent_id = given.text("agent")
    if agent_id is not None and agent_id != RESIDENT:
        scene.require_agents([agent_id])
    logs = derived_context(scene)
    pause = max(given.number("refresh-ms", 2000), 200) / 1000
    limit = given.values.get("timeout-seconds")
    deadline = None if limit is None else time.monotonic() + limit
    seen = ""
    with EventLoop() as loop:
        for path in _watched(scene):
            loop.watch_file(path, lambda: None)
        while True:
            signal = _signal(scene, agent_id, logs)
            if signal["fingerprint"] != seen:
                print(signal_line(signal), flush=True)
            code = wave_signal_exit_code(signal)
            if code != _UNDER_WAY:
                return code
            if seen and given.has("until-change") and signal["fingerprint"] != seen:
                return ExitCode.CHANGED
            seen = signal["fingerprint"]
            left = pause if deadline is None else min(pause, deadline - time.monotonic())
            if left <= 0:
                return _UNDER_WAY
            loop.run_once(left)


def _signal(scene: WaveScene, agent_id: str | None, logs: DerivedContext) -> JsonObject:
    from ..runtime.control_status import chosen_signal, read_payload

    return chosen_signal(read_payload(scene, agent_id, logs, only_open=True))


def _watched(scene: WaveScene) -> list[str]:
    """The files whose change can change a signal."""
    paths, number = scene.paths, scene.number
    return [
        paths.coordination_log(number),
        paths.control_plane_log(number),
        paths.run_state,
        paths.relaunch_plan(number),
        paths.feedback_requests_dir,
        paths.status_dir,
    ]
