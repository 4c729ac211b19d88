"""`wave demo`: an example workspace, one real wave in it through the real launcher, and an account of what happened.

Holds:       nothing beyond what the launch holds.
Writes:      the example workspace, in a new temporary folder or in the empty folder that the caller names.
When killed: the temporary folder stays behind.

Spec: WORK 13; LAUNCH 2.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple

from ..base.errors import UsageError, WaveError
from ..base.files import ensure_dir, read_json, remove_tree, write_text
from ..base.timestamps import parse_iso
from ..definition.config import CONFIG_NAME, load_wave_config
from ..definition.lane_paths import LanePaths, build_lane_paths
from ..definition.project_profile import update_profile
from ..definition.roles import resolve_wave_role_bindings, runtime_role
from ..definition.wave_files import parse_wave_file
from ..engines.gate_results import GATE_LABELS, GATE_ORDER
from ..state.agent_state import read_status_record
from ..state.control_plane import read_events
from . import install
from .demo_files import WAVE_NUMBER, demo_files
from .launcher_options import LauncherOptions

# Names of a surrounding run: the demo is a launch of its own.
_FOREIGN_VARIABLES = ("WAVE_", "CORRIDOR_", "CONTEXT7_")
_KEPT_VARIABLES = ("WAVE_DEBUG",)


class AgentAccount(NamedTuple):
    """One agent of the demo. `exit_code` and `seconds` are None for one that did not run; paths are repo-relative."""

    agent_id: str
    title: str
    role: str
    exit_code: int | None
    seconds: float | None
    log: str
    envelope: str | None


class GateAccount(NamedTuple):
    """One gate as the last evaluation saw it."""

    key: str
    label: str
    ok: bool
    status_code: str
    detail: str


class DemoAccount(NamedTuple):
    """What a demo came to. `evidence` are `(what it is, repo-relative path)` of files that exist."""

    exit_code: int
    seconds: float
    workspace: str
    agents: list[AgentAccount]
    gates: list[GateAccount]
    evidence: list[tuple[str, str]]


def new_workspace(keep: str | None) -> str:
    """An empty folder: `keep`, made when missing, else a temporary one. UsageError when `keep` holds something."""
    if keep is None:
        return _temporary_folder()
    folder = os.path.abspath(keep)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise UsageError(f"{keep} is not a folder", where="--keep", remedy="name a new or an empty folder")
    if os.path.isdir(folder) and os.listdir(folder):
        raise UsageError(f"{keep} is not empty", where="--keep", remedy="name a new or an empty folder")
    try:
        ensure_dir(folder, 0o755)
    except OSError as error:
        raise UsageError(f"{keep} cannot be made: {error.strerror}", where="--keep") from None
    return folder


def _temporary_folder() -> str:
    import tempfile

    try:
        return tempfile.mkdtemp(prefix="wave-demo-")
    except OSError as error:
        remedy = "set TMPDIR, or name a folder with --keep"
        raise WaveError(f"no temporary folder can be made: {error.strerror}", remedy=remedy) from None


def fill_workspace(root: str) -> None:
    """Make the empty folder the example workspace: what `wave init` seeds, with the demo's wave and configuration."""
    install.initialize(root, durable=False)
    with open(os.path.join(root, CONFIG_NAME), encoding="utf-8") as file:
        starter_config = json.load(file)
    for path, text in demo_files(starter_config).items():
        write_text(os.path.join(root, path), text, durable=False, mode=0o644)
    update_profile(load_wave_config(root), None, lambda profile: profile._replace(new_project=True))


def run_wave(root: str) -> DemoAccount:
    """Launch the example wave as `wave launch` does, and tell what happened. Raises WaveError as the launcher does."""
    from .launcher import launch

    options = LauncherOptions(
        start_wave=WAVE_NUMBER,
        end_wave=WAVE_NUMBER,
        agent_launch_stagger_ms=0,
        terminal_surface="none",
        dashboard=False,
        telemetry=False,
        context7=False,
    )
    began = monotonic()
    with _own_environment(root):
        code = launch(options, root)
    return account(root, code, monotonic() - began)


def discard(root: str) -> None:
    """Remove a temporary workspace with everything in it."""
    remove_tree(root)


@contextmanager
def _own_environment(root: str) -> Iterator[None]:
    """The variables of this process without those of a surrounding run, and with the demo's workspace."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_FOREIGN_VARIABLES) and name not in _KEPT_VARIABLES:
            del os.environ[name]
    os.environ["WAVE_REPO_ROOT"] = root
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# --- the account ----------------------------------------------------------------------------------------------------


def account(root: str, code: int, seconds: float) -> DemoAccount:
    """Read from the canonical files of the workspace what ran and what was decided."""
    paths = build_lane_paths(load_wave_config(root))
    events = read_events(paths, WAVE_NUMBER).events
    attempts = [int(event["data"]["attemptNumber"]) for event in events if event["entityType"] == "attempt"]
    attempt = max(attempts, default=1)
    snapshots = [event["data"]["gateSnapshot"] for event in events if event["entityType"] == "gate"]
    return DemoAccount(
        code,
        seconds,
        root,
        _agents(paths, attempt),
        _gates(snapshots[-1] if snapshots else {}),
        _evidence(paths, attempt),
    )


def _agents(paths: LanePaths, attempt: int) -> list[AgentAccount]:
    wave = parse_wave_file(paths.wave_file(WAVE_NUMBER), paths.profile, paths.root)
    bindings = resolve_wave_role_bindings(wave, paths.profile.roles)
    accounts = []
    for agent in wave.agents:
        status = read_status_record(paths.status_file(WAVE_NUMBER, agent.slug)) or {}
        record = read_json(paths.runtime_file(WAVE_NUMBER, agent.slug)).value or {}
        envelope = paths.result_envelope(WAVE_NUMBER, attempt, agent.agent_id)
        accounts.append(
            AgentAccount(
                agent.agent_id,
                agent.title,
                runtime_role(agent, bindings),
                status.get("code"),
                _seconds(record),
                paths.rel(paths.log_file(WAVE_NUMBER, agent.slug)),
                paths.rel(envelope) if os.path.exists(envelope) else None,
            )
        )
    return accounts


def _seconds(record: dict[str, Any]) -> float | None:
    began, ended = parse_iso(record.get("startedAt")), parse_iso(record.get("completedAt"))
    return None if began is None or ended is None else ended - began


def _gates(snapshot: dict[str, Any]) -> list[GateAccount]:
    return [
        GateAccount(key, GATE_LABELS[key], bool(gate["ok"]), gate["statusCode"], gate.get("detail") or "")
        for key in GATE_ORDER
        if (gate := snapshot.get(key))
    ]


def _evidence(paths: LanePaths, attempt: int) -> list[tuple[str, str]]:
    listed = (
        ("what the agents said", paths.logs_dir),
        ("what they were told", paths.prompts_dir),
        ("their typed results", os.path.dirname(paths.result_envelope(WAVE_NUMBER, attempt, "A1"))),
        ("every event, in order", paths.control_plane_log(WAVE_NUMBER)),
        ("coordination records", paths.coordination_log(WAVE_NUMBER)),
        ("the whole attempt, for replay", paths.trace_dir(WAVE_NUMBER, attempt)),
        ("what is completed", paths.run_state),
    )
    return [(what, paths.rel(path)) for what, path in listed if os.path.exists(path)]
