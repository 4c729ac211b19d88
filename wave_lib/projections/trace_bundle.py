"""A trace bundle on disk: what belongs into it, how it is checked, what was known before this attempt.

Spec: LAUNCH 17.1 (files), 17.2 (history, normalised gates), 17.4 (validation). Reads; never writes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.files import read_json
from ..base.text import sha256_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    JsonObject = dict[str, Any]

TRACE_VERSION = 2
METADATA = "run-metadata.json"

# Artifact key -> (file, required).
ARTIFACTS = {
    "manifest": ("manifest.json", True),
    "coordinationRaw": ("coordination.raw.jsonl", True),
    "coordinationMaterialized": ("coordination.materialized.json", True),
    "ledger": ("ledger.json", True),
    "docsQueue": ("docs-queue.json", True),
    "capabilityAssignments": ("capability-assignments.json", True),
    "dependencySnapshot": ("dependency-snapshot.json", True),
    "security": ("security.json", True),
    "integration": ("integration.json", True),
    "quality": ("quality.json", True),
    "structuredSignals": ("structured-signals.json", True),
    "outcome": ("outcome.json", True),
    "sharedSummary": ("shared-summary.md", True),
    "corridor": ("corridor.json", False),
    "integrationMarkdown": ("integration.md", False),
    "proofRegistry": ("proof-registry.json", False),
    "controlPlane": ("control-plane.raw.jsonl", False),
    "feedbackTriage": ("feedback/triage.jsonl", False),
    "pendingHuman": ("feedback/pending-human.md", False),
    "componentMatrix": ("component-cutover-matrix.json", False),  # required if the wave promotes components
    "componentMatrixMarkdown": ("component-cutover-matrix.md", False),
    "benchmarkCatalog": ("benchmark-catalog.json", False),
}
AGENT_FILES = {
    "prompt": "prompts/{slug}.prompt.md",
    "log": "logs/{slug}.log",
    "status": "status/{slug}.status",
    "summary": "summaries/{slug}.summary.json",
    "inbox": "inboxes/{slug}.md",
    "envelope": "results/{agent_id}.json",
}
_LAUNCHED_KEYS = ("prompt", "log", "status", "summary", "inbox")


class TraceValidation(NamedTuple):
    """`replay_mode` is `hermetic`, `legacy-best-effort` or `invalid`."""

    ok: bool
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    replay_mode: str

    def to_json(self) -> JsonObject:
        """`{ok, errors, warnings, replayMode}`."""
        return {
            "ok": self.ok,
            "errors": list(self.errors),
            "warnings": list(self.warnings),
            "replayMode": self.replay_mode,
        }


class TraceBundle:
    """Reader of one bundle directory. A path that would leave the directory is never opened."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        metadata = read_json(os.path.join(directory, METADATA)).value
        self.metadata: JsonObject = metadata if isinstance(metadata, dict) else {}

    def path_of(self, relative: str) -> str | None:
        """Absolute path of a file of the bundle, None for a path that leads outside."""
        root = os.path.realpath(self.directory)
        full = os.path.realpath(os.path.join(root, relative))
        return full if full.startswith(root + os.sep) else None

    def json(self, relative: str, default: Any = None) -> Any:
        """A JSON file of the bundle, `default` when it is absent or unreadable."""
        path = self.path_of(relative)
        value = read_json(path).value if path else None
        return default if value is None else value

    def artifact(self, key: str, default: Any = None) -> Any:
        """A JSON artifact by its key."""
        return self.json(ARTIFACTS[key][0], default)

    def has(self, relative: str) -> bool:
        """Whether the bundle holds this file."""
        path = self.path_of(relative)
        return path is not None and os.path.isfile(path)


def descriptor(directory: str, relative: str, required: bool, *, hashed: bool = True) -> JsonObject:
    """`{path, required, present, sha256}` of a file of the bundle. Spec: LAUNCH 17.1."""
    full = os.path.join(directory, relative)
    present = os.path.isfile(full)
    return {
        "path": relative,
        "required": required,
        "present": present,
        "sha256": sha256_file(full) if present and hashed else None,
    }


# --- history --------------------------------------------------------------------------------------------------------


def previous_bundle(wave_traces_dir: str, attempt: int) -> TraceBundle | None:
    """The newest bundle of the wave before `attempt`."""
    try:
        names = os.listdir(wave_traces_dir)
    except FileNotFoundError:
        return None
    numbers = [int(name[8:]) for name in names if name.startswith("attempt-") and name[8:].isdigit()]
    earlier = [number for number in numbers if number < attempt]
    return TraceBundle(os.path.join(wave_traces_dir, f"attempt-{max(earlier)}")) if earlier else None


def history_of(bundle: TraceBundle | None) -> JsonObject:
    """The history snapshot of a bundle; that of a version-1 bundle is rebuilt from its metadata."""
    if bundle is None:
        return {"launchEvents": [], "contQaStatuses": []}
    stored = bundle.metadata.get("historySnapshot")
    if isinstance(stored, dict):
        statuses = stored.get("contQaStatuses") or stored.get("evaluatorStatuses") or []
        return {"launchEvents": list(stored.get("launchEvents") or []), "contQaStatuses": list(statuses)}
    attempt = bundle.metadata.get("attempt") or 0
    agents = [agent for agent in bundle.metadata.get("agents") or [] if agent.get("launchedInAttempt")]
    gate = (bundle.metadata.get("gateSnapshot") or {}).get("contQaGate") or {}
    return {
        "launchEvents": [launch_event(attempt, str(agent["agentId"]), agent.get("executor")) for agent in agents],
        "contQaStatuses": [{"attempt": attempt, "statusCode": gate.get("statusCode")}],
    }


def launch_event(attempt: int, agent_id: str, executor: Mapping[str, Any] | None) -> JsonObject:
    """`{attempt, agentId, role, executorId}`."""
    executor = executor or {}
    return {
        "attempt": attempt,
        "agentId": agent_id,
        "role": executor.get("role"),
        "executorId": executor.get("executorId") or executor.get("id"),
    }


def extended_history(
    history: Mapping[str, Any], events: Iterable[JsonObject], cont_qa_status: JsonObject
) -> JsonObject:
    """The history with one more attempt, unique and sorted. Spec: LAUNCH 17.2."""
    launches = {
        (item.get("attempt") or 0, str(item.get("agentId")), str(item.get("executorId"))): item
        for item in [*history["launchEvents"], *events]
    }
    statuses = {item.get("attempt") or 0: item for item in [*history["contQaStatuses"], cont_qa_status]}
    return {
        "launchEvents": [launches[key] for key in sorted(launches)],
        "contQaStatuses": [statuses[key] for key in sorted(statuses)],
    }


def normalized_gate_snapshot(snapshot: Mapping[str, Any], logged_agent_ids: Iterable[str]) -> JsonObject:
    """The snapshot as a bundle stores and replay compares it. Spec: LAUNCH 17.2.

    `logged_agent_ids`: agents whose log is in the bundle; their gates lose the log path of the workspace.
    """
    logged = set(logged_agent_ids)
    found: JsonObject = {}
    failing = (snapshot.get("overall") or {}).get("gate")
    for key, gate in snapshot.items():
        if not isinstance(gate, dict) or key == "overall":
            found[key] = gate
        elif key in ("integrationGate", "integrationBarrier"):
            found[key] = {"ok": gate.get("ok"), "statusCode": gate.get("statusCode")}
        elif key == "documentationGate":
            reduced = {"ok": gate.get("ok"), "statusCode": gate.get("statusCode")}
            found[key] = reduced if failing == "documentationGate" else None
        else:
            kept = gate.get("agentId") not in logged or "logPath" not in gate
            found[key] = dict(gate) if kept else {**gate, "logPath": None}
    return found


# --- validation -----------------------------------------------------------------------------------------------------


def validate_trace_bundle(directory: str) -> TraceValidation:
    """Whether a bundle is whole and unchanged. Spec: LAUNCH 17.4."""
    bundle = TraceBundle(directory)
    metadata = bundle.metadata
    if not metadata:
        return TraceValidation(False, (f"{METADATA} is missing or unreadable",), (), "invalid")
    version = metadata.get("traceVersion")
    if version == 1:
        warning = "a version-1 bundle is not hermetic: files of the repository may be needed"
        return TraceValidation(True, (), (warning,), "legacy-best-effort")
    if version != TRACE_VERSION:
        return TraceValidation(False, (f"unknown traceVersion {version!r}",), (), "invalid")
    errors = [f"{key} is missing" for key in ("replayContext", "historySnapshot", "artifacts") if not metadata.get(key)]
    artifacts = metadata.get("artifacts") or {}
    if not bundle.has(ARTIFACTS["outcome"][0]):
        errors.append("outcome.json is missing")
    for key, item in artifacts.items():
        if key != "agents":
            errors += _check_descriptor(bundle, key, item, hashed=key != "runMetadata")
    for agent_id, items in (artifacts.get("agents") or {}).items():
        for key, item in items.items():
            errors += _check_descriptor(bundle, f"agents.{agent_id}.{key}", item)
    errors += _check_launched(metadata, artifacts.get("agents") or {})
    errors += _check_contents(bundle, artifacts)
    warnings = []
    outcome = bundle.artifact("outcome") or {}
    if outcome and outcome.get("gateSnapshot") != metadata.get("gateSnapshot"):
        warnings.append("outcome.json and run-metadata.json disagree about the gate snapshot")
    if outcome and outcome.get("quality") != bundle.artifact("quality"):
        errors.append("outcome.json and quality.json disagree about quality")
    return TraceValidation(not errors, tuple(errors), tuple(warnings), "hermetic")


def _check_descriptor(bundle: TraceBundle, key: str, item: object, *, hashed: bool = True) -> list[str]:
    if not isinstance(item, dict):
        return [f"{key}: no descriptor"]
    relative = item.get("path")
    if not relative or not isinstance(relative, str):
        return [f"{key}: has no path"] if item.get("required") else []
    full = bundle.path_of(relative)
    if full is None:
        return [f"{key}: {relative} leads out of the bundle"]
    there = os.path.isfile(full)
    if item.get("required") and not (item.get("present") and there):
        return [f"{key}: {relative} is required and not present"]
    if item.get("present") and not there:
        return [f"{key}: {relative} is not on disk"]
    if hashed and item.get("present") and sha256_file(full) != item.get("sha256"):
        return [f"{key}: {relative} was changed (its hash differs)"]
    return []


def _check_launched(metadata: Mapping[str, Any], agents: Mapping[str, Any]) -> list[str]:
    errors = []
    for agent in metadata.get("agents") or []:
        if not agent.get("launchedInAttempt"):
            continue
        items = agents.get(agent["agentId"]) or {}
        for key in _LAUNCHED_KEYS:
            if not (items.get(key) or {}).get("required"):
                errors.append(f"agents.{agent['agentId']}.{key}: a launched agent needs it as required")
    return errors


def _check_contents(bundle: TraceBundle, artifacts: Mapping[str, Any]) -> list[str]:
    manifest = bundle.artifact("manifest")
    waves = (manifest.get("waves") if isinstance(manifest, dict) else None) or []
    if not waves:
        return ["manifest: it holds no wave"]
    matrix = artifacts.get("componentMatrix") or {}
    if waves[0].get("componentPromotions") and not (matrix.get("required") and matrix.get("present")):
        return ["componentMatrix: the wave promotes components and the matrix is not in the bundle"]
    return []
