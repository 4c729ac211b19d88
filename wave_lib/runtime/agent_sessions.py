"""Agent sessions: starts, adopts, takes up, ends and finalises the process tree of one agent.

Holds:       the tree lock from before the spawn until the runner has inherited it, and while it finalises.
Writes:      the first runtime record and the payload; status and last record only when runner and tree are gone.
When killed: the tree lock tells whether anything was started; what was started goes on and is adopted.

Spec: SUP 10.3 (adoption), 15.4, 16.7, 16.8, 17.11; LAUNCH 8.2 (steps 7 to 11).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base import locks
from ..base.errors import LockHeldError, SpawnError
from ..base.files import open_log, publish, remove, write_json
from ..base.processes import processes_marked, self_command, spawn
from ..base.timestamps import now_iso
from .agent_ending import Termination, end_stragglers, terminate_agent_tree, terminate_agents
from .agent_environment import sticky_key, stripped_names
from .agent_outcomes import Found, agent_alive, examine_agent, finalise_lost_agent, write_outcome
from .agent_records import (
    CODE_SPAWN,
    NONCE,
    SCHEMA_VERSION,
    AgentFiles,
    Ending,
    file_time,
    files_of,
    is_terminal,
    read_object,
    status_is_of,
)

if TYPE_CHECKING:
    import subprocess

    from .executors.launch_spec import AgentSession, LaunchSpec

__all__ = [
    "AgentHandle",
    "AgentStart",
    "Found",
    "RateLimit",
    "Slots",
    "Termination",
    "agent_alive",
    "examine_agent",
    "finalise_lost_agent",
    "read_status",
    "resume_agent",
    "start_agent",
    "take_up",
    "terminate_agent_tree",
    "terminate_agents",
]

LEASE_LIMIT_BYTES = 32 * 1024  # fits into a pipe, so that writing it never waits for the reader


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
    prompt_hash: str | None = None
    definition_hash: str | None = None
    orchestrator_id: str | None = None
    run_id: str | None = None
    launch_generation: int | None = None
    history_dir: str | None = None  # supervised runs keep the previous record there, others drop it
    timeout_seconds: float = 14400.0
    grace_seconds: float = 10.0
    heartbeat_seconds: float = 10.0
    rate_limit: RateLimit = RateLimit()
    slots: Slots | None = None
    environment: Mapping[str, Any] = {}  # executors.env: {mode, pass, strip, set}
    token_variables: tuple[str, ...] = ()  # configured names of the orchestrator's own tokens, never handed on
    pass_variables: tuple[str, ...] = ()  # waveControl.passEnvVars
    leases: Mapping[str, str] = {}  # leased secrets; they reach the runner through a pipe only
    owned_paths: tuple[str, ...] = ()
    resume_sessions: bool = True
    resume_limit: int = 3


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
    prompt_hash: str | None
    runner_pid: int | None
    adopted: bool = False
    request: AgentStart | None = None
    child: subprocess.Popen[bytes] | None = None
    ready_fd: int | None = None


# --- starting --------------------------------------------------------------------------------------------------------


def start_agent(request: AgentStart) -> AgentHandle:
    """Start one agent: end what is left of an earlier one, take the tree lock, write record and payload, spawn.

    Returns at once; the executor is started by the runner. Raises SpawnError when the runner cannot be started (status
    and record then say so, code 71) and LockHeldError when what is left of an earlier agent cannot be ended.
    Spec: LAUNCH 8.2 (steps 7 to 10).
    """
    files = files_of(request.runtime_path)
    tree = _free_tree_lock(files, request)
    try:
        _put_old_files_away(files, request)
        record = _first_record(request)
        # The runner flushes the record to the disk before the executor exists; until then this is enough.
        write_json(files.runtime, record, durable=False)
        return _spawn_runner(request, files, record, tree)
    finally:
        tree.close()


def _free_tree_lock(files: AgentFiles, request: AgentStart) -> locks.FileLock:
    lock = locks.take(files.tree_lock)
    if lock is None:
        terminate_agent_tree(files.runtime, "replaced", request.grace_seconds)
        lock = locks.take(files.tree_lock, blocking=True, timeout=2.0)
    if lock is None:
        raise LockHeldError(
            f"processes of an earlier agent {request.agent_id} are still running and could not be ended",
            where=files.tree_lock,
            remedy="end them by hand",
        )
    # The shells of agent CLIs inherit no lock: they would go on beside this launch.
    end_stragglers(files, str((read_object(files.runtime) or {}).get("launchId") or ""))
    return lock


def _put_old_files_away(files: AgentFiles, request: AgentStart) -> None:
    old = read_object(files.runtime)
    if old is not None and request.history_dir:
        stem = f"{request.agent_id}.wave-{old.get('waveNumber')}.attempt-{old.get('attempt')}"
        number = 1
        while os.path.exists(os.path.join(request.history_dir, f"{stem}.{number}.runtime.json")):
            number += 1
        write_json(os.path.join(request.history_dir, f"{stem}.{number}.runtime.json"), old)
    # The record goes last: a crash in between leaves one that is judged by what is still beside it.
    for path in (request.status_path, files.exit, files.pid, files.stop, files.runtime):
        remove(path)
    if file_time(request.log_path) is not None:
        publish(request.log_path, f"{request.log_path}.prev")


def _first_record(request: AgentStart) -> dict[str, Any]:
    """The runtime record before anything runs. Spec: SUP 16.7, LAUNCH 8.3."""
    now = now_iso()
    return {
        "schemaVersion": SCHEMA_VERSION,
        "runId": request.run_id,
        "project": request.project,
        "lane": request.lane,
        "waveNumber": request.wave,
        "attempt": request.attempt,
        "launchId": os.urandom(16).hex(),
        "launchGeneration": request.launch_generation,
        "agentId": request.agent_id,
        "executorId": request.spec.executor_id,
        "sessionName": request.session_name,
        "tmuxSessionName": None,
        "sessionBackend": "process",
        "attachMode": "log-tail",
        "runnerPid": None,
        "runnerIdentity": None,
        "executorPid": None,
        "pid": None,
        "pgid": None,
        "executorIdentity": None,
        "startedAt": now,
        "executorStartedAt": None,
        "deadlineAt": None,
        "deadlineMonotonic": None,
        "timeoutSeconds": request.timeout_seconds,
        "lastHeartbeatAt": now,
        "heartbeatSeq": 0,
        "statusPath": request.status_path,
        "logPath": request.log_path,
        "logOffset": 0,
        "promptPath": request.prompt_path,
        "promptHash": request.prompt_hash,
        "definitionHash": request.definition_hash,
        "orchestratorId": request.orchestrator_id,
        "tryIndex": 0,
        "successExitCodes": list(request.spec.success_exit_codes),
        "exitCode": None,
        "exitReason": None,
        "signal": None,
        "detail": None,
        "terminalDisposition": "launching",
        "completedAt": None,
        "limitedUntil": None,
        "agentSession": None,
        "outcomeSource": None,
    }


def _spawn_runner(
    request: AgentStart,
    files: AgentFiles,
    record: dict[str, Any],
    tree: locks.FileLock,
    resume: dict[str, Any] | None = None,
) -> AgentHandle:
    """Write the payload and start the runner; lease values go through a pipe that is filled before the spawn."""
    ready, said = os.pipe()
    lease_read, lease_write = os.pipe() if request.leases else (None, None)
    kept = [fd for fd in (tree.pass_on(), said, lease_read) if fd is not None]
    try:
        if lease_write is not None:
            filled, lease_write = lease_write, None  # it is closed by the call, also when that fails
            _fill_lease_pipe(filled, request.leases)
        payload = _payload(request, record, {"treeLockFd": tree.fd, "readyFd": said, "leasePipeFd": lease_read}, resume)
        write_json(payload["payloadPath"], payload, durable=False)
        output = open_log(request.log_path)  # a runner that cannot even start says why where people look
        try:
            argv = [*self_command(), "agent-runner", payload["payloadPath"]]
            child = spawn(argv, cwd=request.root, stdout=output, stderr=output, keep_fds=kept)
        finally:
            os.close(output)
    except SpawnError as error:
        os.close(ready)
        _record_spawn_failure(request, files, record, error)
        raise
    except BaseException:
        os.close(ready)
        raise
    finally:
        for fd in (said, lease_read, lease_write):
            if fd is not None:
                os.close(fd)
    tree.shared_with(child.pid)
    return _handle(record, request, child.pid)._replace(child=child, ready_fd=ready)


def _fill_lease_pipe(fd: int, leases: Mapping[str, str]) -> None:
    import json

    data = json.dumps(dict(leases)).encode()
    if len(data) > LEASE_LIMIT_BYTES:
        os.close(fd)
        raise SpawnError(f"leased values are larger than {LEASE_LIMIT_BYTES // 1024} KiB", errno_name="E2BIG")
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(data)


def _payload(
    request: AgentStart, record: dict[str, Any], fds: dict[str, int | None], resume: dict[str, Any] | None
) -> dict[str, Any]:
    """What the runner needs; no secret values. Spec: SUP 16.2."""
    spec, slots = request.spec, request.slots
    return {
        "schemaVersion": SCHEMA_VERSION,
        "payloadPath": os.path.join(request.overlay_dir, "runner-payload.json"),
        "runId": request.run_id,
        "launchGeneration": request.launch_generation,
        "project": request.project,
        "lane": request.lane,
        "waveNumber": request.wave,
        "attempt": request.attempt,
        "launchId": record["launchId"],
        "agentId": request.agent_id,
        "sessionName": request.session_name,
        "runtimePath": request.runtime_path,
        "statusPath": request.status_path,
        "logPath": request.log_path,
        "promptPath": request.prompt_path,
        "promptHash": request.prompt_hash,
        "definitionHash": request.definition_hash,
        "orchestratorId": request.orchestrator_id,
        "executorId": spec.executor_id,
        "argv": list(spec.argv),
        "stdinPath": spec.stdin_path,
        "env": _set_variables(request, record["launchId"]),
        "leasedEnvVars": sorted(request.leases),
        "envStrip": stripped_names(
            os.environ, request.environment, request.token_variables, [*request.pass_variables, *request.leases]
        ),
        "cwd": spec.cwd,
        "timeoutSeconds": request.timeout_seconds,
        "graceSeconds": request.grace_seconds,
        "heartbeatSeconds": request.heartbeat_seconds,
        "foreignHostGraceSeconds": locks.strangers_trusted(),
        "rateLimit": _rate_limit_of(request.rate_limit, spec),
        "successExitCodes": list(spec.success_exit_codes),
        "outputFormat": spec.output_format,
        **fds,
        "slots": {"directory": slots.directory, "maxAgents": slots.max_agents, "maxLaunches": slots.max_launches}
        if slots
        else None,
        "session": _session_of(spec.session) if spec.session and request.resume_sessions else None,
        "resume": resume,
        "failPattern": spec.fail_pattern,
        "failReason": spec.fail_reason,
        "command": spec.invocation_lines[0] if spec.invocation_lines else "",
    }


def _rate_limit_of(limit: RateLimit, spec: LaunchSpec) -> dict[str, Any]:
    return {
        "maxAttempts": limit.max_attempts if spec.use_rate_limit_retries else 1,
        "baseDelaySeconds": limit.base_delay_seconds,
        "maxDelaySeconds": limit.max_delay_seconds,
        "patterns": list(spec.rate_limit_patterns),
        "watched": spec.use_rate_limit_retries,
    }


def _session_of(session: AgentSession) -> dict[str, Any]:
    return {
        "source": session.source,
        "resumeArgv": list(session.resume_argv),
        "idPattern": session.id_pattern,
        "lostPattern": session.lost_pattern,
    }


def _set_variables(request: AgentStart, launch_id: str) -> dict[str, str]:
    """What is set for the executor: configured values, those of its spec, and who it is. Spec: SUP 16.3."""
    env = {**(request.environment.get("set") or {}), **request.spec.env}
    sticky = env.get("LPM_AUTH_STICKY_KEY") or sticky_key(request.lane, request.wave, request.attempt, request.agent_id)
    env.update(
        WAVE_ORCHESTRATOR_ID=request.orchestrator_id or "",
        WAVE_EXECUTOR_MODE=request.spec.executor_id,
        WAVE_REPO_ROOT=request.root,
        WAVE_PROJECT=request.project,
        WAVE_LANE=request.lane,
        WAVE_WAVE=str(request.wave),
        WAVE_AGENT_ID=request.agent_id,
        WAVE_ATTEMPT=str(request.attempt),
        WAVE_AGENT_NONCE=launch_id,
        LPM_AUTH_STICKY_KEY=sticky,
    )
    return env


def _record_spawn_failure(request: AgentStart, files: AgentFiles, record: dict[str, Any], error: SpawnError) -> None:
    ending = Ending(CODE_SPAWN, f"spawn-failed:{error.errno_name or 'unknown'}", "failed")
    record["detail"] = str(error)
    write_outcome(request.status_path, files, record, ending, time.time(), "lost")


# --- finding, adopting, taking up ------------------------------------------------------------------------------------


def take_up(request: AgentStart) -> AgentHandle | None:
    """What an earlier launcher left of this very agent, by the table of SUP 10.3; None when it has to be started.

    A live agent of the same definition is adopted, one of another is ended (None); what finished, exited or was lost
    comes as a handle that settles at once; a session that can go on is resumed. Supervised: same run, wave and attempt;
    else same wave, and only for agents that are alive or that nobody saw the end of.
    """
    found, record = examine_agent(request.runtime_path)
    if record is None:
        return None
    same_place = record.get("waveNumber") == request.wave and record.get("runId") == request.run_id
    same_attempt = same_place and record.get("attempt") == request.attempt
    same_prompt = record.get("promptHash") == request.prompt_hash
    if found is Found.LIVE:
        if same_place and same_prompt and (same_attempt or request.run_id is None):
            # From this very look: should the agent end meanwhile, the handle settles at once.
            return _handle(record, request, record.get("runnerPid"), adopted=True)
        terminate_agent_tree(request.runtime_path, "superseded", request.grace_seconds)
        return None
    never_started = found is Found.NEVER_STARTED and not _was_resuming(record)
    if not same_attempt or not same_prompt or never_started:
        return None
    if found in (Found.DIED, Found.NEVER_STARTED) and not is_terminal(record):
        resumed = resume_agent(request, request.runtime_path)
        if resumed is not None:
            return resumed
    if found is not Found.FINISHED:
        finalise_lost_agent(request.runtime_path)
    return _handle(record, request, None, adopted=True)


def _was_resuming(record: dict[str, Any]) -> bool:
    """Whether an earlier try of this session had run: then nothing started now still means work to go on with."""
    return (record.get("agentSession") or {}).get("resumedAtSize") is not None


def _handle(
    record: dict[str, Any], request: AgentStart, runner_pid: int | None, adopted: bool = False
) -> AgentHandle:
    return AgentHandle(
        agent_id=str(record.get("agentId")),
        attempt=int(record.get("attempt") or 0),
        launch_id=str(record.get("launchId") or ""),
        runtime_path=request.runtime_path,
        status_path=str(record.get("statusPath") or ""),
        log_path=str(record.get("logPath") or ""),
        prompt_hash=record.get("promptHash"),
        runner_pid=runner_pid,
        adopted=adopted,
        request=request,
    )


def read_status(handle: AgentHandle) -> dict[str, Any] | None:
    """The status file, if it is that of this launch. Spec: LAUNCH 9.2."""
    status = read_object(handle.status_path)
    return status if status_is_of(status, handle.launch_id, handle.attempt, handle.prompt_hash) else None


# --- going on with a session -----------------------------------------------------------------------------------------


def resume_agent(request: AgentStart, runtime_path: str) -> AgentHandle | None:
    """Continue the session of a lost agent in the same attempt; None when that is not possible. Spec: SUP 17.11.

    The whole tree of the lost try is ended first. An agent that never got as far as its executor is simply started.
    """
    from .session_resume import resumable_session, write_resume_prompts

    files = files_of(runtime_path)
    found, record = examine_agent(runtime_path)
    if record is None or record.get("promptHash") != request.prompt_hash or found in (Found.LIVE, Found.FINISHED):
        return None
    if found is Found.NEVER_STARTED and not _was_resuming(record):
        return start_agent(request)
    session = resumable_session(request, record) if found in (Found.DIED, Found.NEVER_STARTED) else None
    if session is None:
        return None
    end_stragglers(files, str(record.get("launchId") or ""))
    tree = locks.take(files.tree_lock)
    if tree is None:
        return None
    try:
        if processes_marked(NONCE, str(record.get("launchId"))):
            return None
        prompt_path, again_path = write_resume_prompts(request, {**record, "agentSession": session})
        record.update(
            launchId=os.urandom(16).hex(),
            launchGeneration=request.launch_generation,
            terminalDisposition="launching",
            exitReason=None,
            completedAt=None,
            outcomeSource=None,
            agentSession=session,
        )
        # First the record, which says that this session goes on: without a pid record it would look never started.
        write_json(files.runtime, record)
        for path in (files.exit, files.pid, files.stop):
            remove(path)
        resume = {
            "sessionId": session["id"],
            "promptPath": prompt_path,
            "againPath": again_path,
            "logOffset": int(record.get("logOffset") or 0),
        }
        return _spawn_runner(request, files, record, tree, resume)
    finally:
        tree.close()
