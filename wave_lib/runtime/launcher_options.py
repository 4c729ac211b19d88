"""What a launch was asked to do, parsed and free of any configuration.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: LAUNCH 2.2. The command line is parsed by `commands/launch_flags.py`.
"""

from __future__ import annotations

from typing import NamedTuple


class LauncherOptions(NamedTuple):
    """A parsed `wave launch` command line; None where configuration decides. Times carry their unit in the name."""

    project: str | None = None
    lane: str | None = None
    adhoc_run: str | None = None
    start_wave: int | None = None
    end_wave: int | None = None
    auto_next: bool = False
    resume_control_state: bool = False
    reconcile_status: bool = False
    state_file: str | None = None
    timeout_minutes: int = 240
    max_retries_per_wave: int = 1
    agent_rate_limit_retries: int = 2
    agent_rate_limit_base_delay_seconds: int = 20
    agent_rate_limit_max_delay_seconds: int = 180
    agent_launch_stagger_ms: int = 1200
    max_parallel_agents: int = 0
    executor: str | None = None
    codex_sandbox: str | None = None
    manifest_out: str | None = None
    dry_run: bool = False
    terminal_surface: str | None = None
    dashboard: bool = True
    cleanup_sessions: bool = True
    keep_terminals: bool = False
    orchestrator_id: str | None = None
    orchestrator_board: str | None = None
    board: bool = True
    coordination_note: str = ""
    resident_orchestrator: bool = False
    telemetry: bool = True
    context7: bool = True

    @property
    def run_variant(self) -> str:
        """The lane-path variant: `dry-run`, or empty for a live run. Spec: CFG 6.1."""
        return "dry-run" if self.dry_run else ""

    @property
    def max_attempts(self) -> int:
        """The budget m of `Attempt k/m`. Spec: LAUNCH 7.1."""
        return self.max_retries_per_wave + 1


def clean_lane(text: str) -> str:
    """A lane name as given: lower-cased, runs of other characters become `-`. Spec: LAUNCH 2.2."""
    kept = (char if char.isascii() and (char.isalnum() or char in "._-") else " " for char in text.strip().lower())
    return "-".join("".join(kept).split()).strip("-")


def clean_orchestrator_id(text: str) -> str:
    """An orchestrator id: characters outside `A-Za-z0-9._-` become `-`, at most 64 are kept. Spec: LAUNCH 2.2."""
    kept = (char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in text.strip())
    return "".join(kept)[:64]
