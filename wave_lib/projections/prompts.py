"""Execution prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave

    JsonObject = dict[str, Any]


class PromptContext7(NamedTuple):
    """Documentation for a prompt: the selection (`bundle` `none` means no external docs) and what was fetched.

    `text` holds the snippets, or `warning` says why they are missing.
    """

    bundle: str = "none"
    query: str = ""
    libraries: Sequence[str] = ()
    text: str = ""
    warning: str = ""


class PromptRequest(NamedTuple):
    """What an agent's prompt is built from. Empty texts and paths leave their sections out. Spec: COORD 23.2.

    Paths are absolute. `wave_command` is how prompts name the CLI (`cli_command`). `shared_summary` and `inbox` are the
    full texts; the prompt holds capped copies. `signal_*` are set for agents with the `signal-hygiene` skill only,
    `corridor_*` for security reviewers and the integration steward. `design_pass` is True on a hybrid steward's first
    pass.
    """

    paths: LanePaths
    wave: Wave
    bindings: RoleBindings
    agent: Agent
    executor_id: str
    wave_command: str = "wave"
    orchestrator_id: str = ""
    board_path: str = ""
    shared_summary_path: str = ""
    shared_summary: str = ""
    inbox_path: str = ""
    inbox: str = ""
    corridor_path: str = ""
    corridor_text: str = ""
    signal_path: str = ""
    signal_ack_path: str = ""
    skills: Optional[Mapping[str, Any]] = None
    skills_text: str = ""
    context7: PromptContext7 = PromptContext7()
    catalog: Optional[BenchmarkCatalog] = None
    catalog_path: str = ""
    design_pass: bool = False
    dry_run: bool = False


class ResidentPromptRequest(NamedTuple):
    """What the resident orchestrator's prompt is built from; paths are absolute. Spec: COORD 23.4."""

    paths: LanePaths
    wave: Wave
    wave_command: str = "wave"
    orchestrator_id: str = ""
    role_prompt: str = ""
    coordination_log_path: str = ""
    shared_summary_path: str = ""
    dashboard_path: str = ""
    board_path: str = ""
    triage_log_path: str = ""
    signal_path: str = ""
    signal_ack_path: str = ""


def build_execution_prompt(request: PromptRequest) -> str:
    """The whole prompt of one agent. Spec: COORD 23.2, 23.3."""
    raise NotImplementedError


def build_resident_prompt(request: ResidentPromptRequest) -> str:
    """The prompt of the resident orchestrator. Spec: COORD 23.4."""
    raise NotImplementedError
