"""Agent sessions: starts, adopts, ends and finalises the process tree of one agent.

Holds:       the tree lock from before the spawn until the runner has inherited it; afterwards nothing.
Writes:      the first runtime record and the payload; a last record only when runner and tree are gone.
When killed: the tree lock tells whether anything was started; what was started goes on and is adopted.

Spec: SUP 15.4, 16.7, 16.8, 17.11; LAUNCH 8.2 (steps 7 to 11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional

if TYPE_CHECKING:
    import subprocess

    from .executors.launch_spec import LaunchSpec


class RateLimit(NamedTuple):
    """Tries and delays of LAUNCH 8.5, in seconds."""

    max_attempts: int = 3
    base_delay_seconds: float = 20.0
    max_delay_seconds: float = 180.0


class Slots(NamedTuple):
    """Workspace-wide limits of SUP 15.4; 0 means no limit."""

    directory: str
    max_agents: int = 0
    max_launches: int = 4


class AgentStart(NamedTuple):
    """Everything needed to start one attempt of one agent. Paths are absolute, times in seconds."""

    root: str
    project: str
    lane: str
    wave: int
    attempt: int
    agent_id: str
    session_name: str
    spec: LaunchSpec
    prompt_path: str
    log_path: str
    status_path: str
    runtime_path: str
    overlay_dir: str
    prompt_hash: Optional[str] = None
    definition_hash: Optional[str] = None
    orchestrator_id: Optional[str] = None
    run_id: Optional[str] = None
    launch_generation: Optional[int] = None
    history_dir: Optional[str] = None  # supervised runs keep the previous record there, others drop it
    timeout_seconds: float = 14400.0
    grace_seconds: float = 10.0
    heartbeat_seconds: float = 10.0
    rate_limit: RateLimit = RateLimit()
    slots: Optional[Slots] = None
    environment: Mapping[str, Any] = {}  # executors.env: {mode, pass, strip, set}
    token_variables: tuple[str, ...] = ()  # configured names of the orchestrator's own tokens, never handed on
    pass_variables: tuple[str, ...] = ()  # waveControl.passEnvVars
    leases: Mapping[str, str] = {}  # leased secrets; they reach the runner through a pipe only
    owned_paths: tuple[str, ...] = ()
    resume_sessions: bool = True
    resume_limit: int = 3
    takes_slot: bool = True


class AgentHandle(NamedTuple):
    """A started or adopted agent. `child` and `ready_fd` are there only when this very process started the runner.

    `ready_fd` becomes readable when the executor runs (one newline) or the runner ended before that (end of file).
    """

    agent_id: str
    attempt: int
    launch_id: str
    runtime_path: str
    status_path: str
    log_path: str
    prompt_hash: Optional[str]
    runner_pid: Optional[int]
    adopted: bool = False
    request: Optional[AgentStart] = None
    child: Optional[subprocess.Popen[bytes]] = None
    ready_fd: Optional[int] = None


class Termination(NamedTuple):
    """What `terminate_agent_tree` did. Spec: SUP 16.7."""

    signalled: bool
    escalated: bool
    gone: bool


def agent_base(runtime_path: str) -> str:
    """The path that tree lock, runner lock, pid and exit record of a runtime record share. Spec: SUP 4."""
    return runtime_path[: -len(".runtime.json")] if runtime_path.endswith(".runtime.json") else runtime_path


def start_agent(request: AgentStart) -> AgentHandle:
    """Start one agent: end what is left of an earlier one, take the tree lock, write record and payload, spawn the runner.

    Returns at once; the executor is started by the runner. Raises SpawnError when the runner cannot be started (the
    record then says so, code 71) and LockHeldError when another agent's tree cannot be ended. Spec: LAUNCH 8.2 (7-10).
    """
    raise NotImplementedError


def adopt(runtime_path: str, request: Optional[AgentStart] = None) -> Optional[AgentHandle]:
    """A handle on the live agent of this record, or None when nothing of it lives. Signals nothing. Spec: SUP 10.3."""
    raise NotImplementedError


def agent_alive(runtime_path: str) -> bool:
    """True while some process of the agent lives (tree lock first, then identities). Spec: SUP 3.4."""
    raise NotImplementedError


def terminate_agent_tree(runtime_path: str, reason: str, grace_seconds: float = 10.0) -> Termination:
    """End runner, process group and stragglers of this agent; only what is identified is signalled. Spec: SUP 16.7."""
    raise NotImplementedError


def finalise_lost_agent(runtime_path: str) -> Optional[dict[str, Any]]:
    """Write status and last record of an agent whose runner died, from its exit record. Spec: SUP 16.8.

    Returns the status record, or None when there is no exit record (the record then says `runner-lost`).
    """
    raise NotImplementedError


def resume_agent(request: AgentStart, runtime_path: str) -> Optional[AgentHandle]:
    """Continue the session of a lost agent in the same attempt; None when that is not possible. Spec: SUP 17.11."""
    raise NotImplementedError
