"""Every key of `wave.config.json`: what it accepts, its default and what it means.

The one table from which loading, merging, defaults, warnings about unknown keys and the reference page derive.
Spec: CFG 4; added keys: SUP 5, 17, PROV 3, WORK 2.7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..base.errors import ConfigError
from . import values as v
from .executor_schema import EXECUTORS
from .ids import sanitize_lane, sanitize_project
from .lane_profile import EXECUTOR_MODES, SKILL_ROLES
from .schema_types import Block, Keyed, Leaf, Node, word_key

SEVERITIES = ("low", "medium", "high", "critical")
CREDENTIAL_PROVIDERS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Provider of a credential lease -> the variable it fills. Spec: PROV 6.1."""

LEGACY_TOKEN_VARIABLE = "WAVE_CONTROL_AUTH_TOKEN"

PLANNING_QUERY = (
    "How to plan software work for several coding agents: small verifiable work packages, clear file ownership, "
    "dependencies, evidence for done, risks and replanning"
)

UPLOAD_ARTIFACT_KINDS = (
    "trace-run-metadata",
    "trace-quality",
    "trace-outcome",
    "integration-summary",
    "proof-registry",
    "agent-summary",
    "control-plane-log",
    "benchmark-results",
    "benchmark-failure-review",
    "verification-stdout",
    "verification-stderr",
    "verification-output-manifest",
    "benchmark-patch-manifest",
)

CORE_CONTEXT_PATHS = (
    "AGENTS.md",
    "wave.config.json",
    "docs/roadmap.md",
    "docs/plans/current-state.md",
    "docs/plans/master-plan.md",
    "docs/plans/wave-orchestrator.md",
    "docs/reference/sample-waves.md",
    "docs/plans/examples/wave-example-live-proof.md",
    "docs/reference/live-proof-waves.md",
    "docs/plans/component-cutover-matrix.md",
    "docs/plans/component-cutover-matrix.json",
    "docs/reference/wave-planning-lessons.md",
    "docs/research/coordination-failure-review.md",
)

_RESERVED_VARIABLES = frozenset(
    (
        *("PATH", "HOME", "SHELL", "USER", "PWD", "IFS", "ENV", "BASH_ENV", "TMPDIR"),
        *("LD_PRELOAD", "LD_LIBRARY_PATH", "NODE_OPTIONS"),
        *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME"),
    )
)


# Keys of the objects with free keys


def _lane_key(raw: str, label: str) -> str:
    return _sanitized(sanitize_lane, raw, label)


def _project_key(raw: str, label: str) -> str:
    return _sanitized(sanitize_project, raw, label)


def _sanitized(sanitize: Any, raw: str, label: str) -> str:
    try:
        return str(sanitize(raw))
    except ConfigError as error:
        raise ConfigError(f"{label}: {error.what}", remedy=error.remedy) from None


def _role_key(raw: str, label: str) -> str:
    role = raw.strip().lower()
    if role == "evaluator":
        raise ConfigError(f"{label}.{raw} was removed", remedy=f"use {label}.cont-qa")
    return role


def _skill_role_key(raw: str, label: str) -> str:
    role = _role_key(raw, label)
    if role not in SKILL_ROLES:
        raise ConfigError(f"{label}.{raw} is no role", remedy=f"use one of {', '.join(SKILL_ROLES)}")
    return role


def _policy_role_key(raw: str, label: str) -> Any:
    role = _role_key(raw, label)
    return role if role in SKILL_ROLES else v.UNSET


def _mode_key(raw: str, label: str) -> str:
    mode = raw.strip().lower()
    if mode not in EXECUTOR_MODES:
        raise ConfigError(f"{label}.{raw} is no executor mode", remedy=f"use one of {', '.join(EXECUTOR_MODES)}")
    return mode


# Kinds that only one key uses


def _credential_providers(value: object, label: str) -> Any:
    items = v.as_text_list(value, label)
    if items is v.UNSET:
        return v.UNSET
    known = tuple(CREDENTIAL_PROVIDERS)
    return v.unique(v.as_member(item, f"{label}[{i}]", known) for i, item in enumerate(items))


def _credentials(value: object, label: str) -> Any:
    if value is None:
        return v.UNSET
    if not isinstance(value, list):
        raise ConfigError(f"{label} must be a list, got {v.shown(value)}")
    entries: list[dict[str, str]] = []
    for index, item in enumerate(value):
        entry = _credential(item, f"{label}[{index}]")
        if any(entry["envVar"] == other["envVar"] for other in entries):
            raise ConfigError(f"{label}[{index}].envVar repeats {entry['envVar']}")
        entries.append(entry)
    return entries


def _credential(item: object, label: str) -> dict[str, str]:
    if not isinstance(item, dict):
        raise ConfigError(f"{label} must be an object with id and envVar")
    credential_id = str(v.as_text(item.get("id"), f"{label}.id") or "").lower()
    variable = str(v.as_text(item.get("envVar"), f"{label}.envVar") or "").upper()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", credential_id):
        raise ConfigError(f"{label}.id must consist of a-z, 0-9, `.`, `_` and `-`, got {v.shown(item.get('id'))}")
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
        raise ConfigError(f"{label}.envVar must be a variable name, got {v.shown(item.get('envVar'))}")
    if variable in _RESERVED_VARIABLES or variable.startswith(("DYLD_", "WAVE_")):
        raise ConfigError(f"{label}.envVar {variable} is reserved", remedy="choose another variable name")
    return {"id": credential_id, "envVar": variable}


# The blocks, from the inside out

ROLES = Block(
    {
        "rolePromptDir": Leaf(v.PATH, "docs/agents", "directory of role prompts"),
        "contQaAgentId": Leaf(v.AGENT_ID, "A0", "agent id of cont-QA"),
        "contEvalAgentId": Leaf(v.AGENT_ID, "E0", "agent id of cont-EVAL"),
        "integrationAgentId": Leaf(v.AGENT_ID, "A8", "agent id of the integration steward"),
        "documentationAgentId": Leaf(v.AGENT_ID, "A9", "agent id of the documentation steward"),
        **{
            f"{role}RolePromptPath": Leaf(v.PATH, f"docs/agents/wave-{name}-role.md", f"role prompt: {name}")
            for role, name in (
                ("contQa", "cont-qa"),
                ("contEval", "cont-eval"),
                ("integration", "integration"),
                ("documentation", "documentation"),
                ("security", "security"),
                ("design", "design"),
            )
        },
    },
    "closure agents and role prompts",
    removed={
        "evaluatorAgentId": "roles.contQaAgentId",
        "evaluatorRolePromptPath": "roles.contQaRolePromptPath",
    },
)

_MODE_THRESHOLDS = Block(
    {
        "bootstrap": Leaf(v.COUNT, 0, "first wave in bootstrap mode"),
        "standard": Leaf(v.COUNT, 4, "first wave in standard mode"),
        "strict": Leaf(v.COUNT, 10, "first wave in strict mode"),
    }
)


def _rule(default: int | None, text: str) -> Leaf:
    return Leaf(v.THRESHOLD, default, f"first wave that needs {text}; null switches the rule off")


VALIDATION = Block(
    {
        "requiredPromptReferences": Leaf(
            v.TEXTS,
            ("docs/reference/repository-guidance.md", "docs/research/agent-context-sources.md"),
            "documents that every prompt refers to",
        ),
        "requireDocumentationStewardFromWave": _rule(0, "a documentation steward"),
        "requireContext7DeclarationsFromWave": _rule(6, "Context7 declarations"),
        "requireExitContractsFromWave": _rule(6, "exit contracts"),
        "requireIntegrationStewardFromWave": _rule(None, "an integration steward"),
        "requireComponentPromotionsFromWave": _rule(0, "component promotions"),
        "requireAgentComponentsFromWave": _rule(0, "components of agents"),
        "gateModeThresholds": _MODE_THRESHOLDS._replace(
            text="how strict the gates are; absent means strict for every wave", optional=True
        ),
        "closureModeThresholds": _MODE_THRESHOLDS._replace(text="how strict the closure policy is"),
        "autoClosure": Block(
            {
                "allowInferredIntegration": Leaf(v.BOOL, False, "infer integration when nothing conflicts"),
                "allowAutoDocNoChange": Leaf(v.BOOL, False, "close documentation when nothing changed"),
                "allowAutoDocProjection": Leaf(v.BOOL, False, "close documentation by projection"),
                "allowSkipContQaInBootstrap": Leaf(v.BOOL, False, "skip cont-QA in bootstrap mode"),
            },
            "what closure may infer by itself",
        ),
        "bootstrapPassConditions": Block(
            {
                "requireA0Verdict": Leaf(v.BOOL, False, "cont-QA verdict"),
                "requireProofSignals": Leaf(v.BOOL, False, "proof markers (no gate acts on it)"),
                "requireTestsPass": Leaf(v.BOOL, True, "passing tests (no gate acts on it)"),
                "requireDeliverablesExist": Leaf(v.BOOL, True, "deliverables on disk"),
                "requireExitCodeZero": Leaf(v.BOOL, True, "exit code 0"),
            },
            "what a wave in bootstrap mode must still show",
        ),
        "testCommand": Leaf(v.TEXT, None, "test command (no gate runs it)"),
        "testCommandTimeout": Leaf(v.SECONDS, 120, "its time limit in seconds"),
    },
    "from which wave on which rule holds",
)

SKILLS = Block(
    {
        "dir": Leaf(v.PATH, "skills", "directory of skill bundles"),
        "base": Leaf(v.SKILL_IDS, (), "skills of every agent", union=True),
        "byRole": Keyed(Leaf(v.SKILL_IDS, (), union=True), _skill_role_key, "skills of a role", "union", "<role>"),
        "byRuntime": Keyed(Leaf(v.SKILL_IDS, (), union=True), _mode_key, "skills of a runtime", "union", "<mode>"),
        "byDeployKind": Keyed(
            Leaf(v.SKILL_IDS, (), union=True), word_key, "skills of a deploy kind", "union", "<kind>"
        ),
    },
    "skill bundles that agents receive",
)

_POLICY_FIELDS: dict[str, Node] = {
    "runtimeMixTargets": Keyed(
        Leaf(v.COUNT, None, "most agents of a wave on this runtime"), _mode_key, "runtime mix", key_name="<mode>"
    ),
    "defaultExecutorByRole": Keyed(Leaf(v.MODE, None), _policy_role_key, "executor of a role", key_name="<role>"),
    "fallbackExecutorOrder": Leaf(v.MODES, (), "fallbacks of agents that name none"),
}
RUNTIME_POLICY = Block(_POLICY_FIELDS, "who runs on what")

CAPABILITY_ROUTING = Block(
    {
        "preferredAgents": Keyed(
            Leaf(v.TEXTS, (), "agents asked first"), word_key, "agents for a capability", key_name="<capability>"
        )
    },
    "who answers requests for a capability",
)

PLANNER = Block(
    {
        "agentic": Block(
            {
                "executorProfile": Leaf(v.LOWER, "planning-readonly", "executor profile of the planner"),
                "defaultMaxWaves": Leaf(v.POSITIVE, 3, "waves planned at once"),
                "maxReplanIterations": Leaf(v.COUNT, 1, "corrections of a rejected plan"),
                "context7Bundle": Leaf(v.LOWER, "planner-agentic", "documentation bundle"),
                "context7Query": Leaf(v.TEXT, PLANNING_QUERY, "documentation query"),
                "coreContextPaths": Leaf(v.PATHS, CORE_CONTEXT_PATHS, "files the planner always sees"),
                "lessonsPaths": Leaf(v.PATHS, ("docs/reference/wave-planning-lessons.md",), "lessons files"),
                "researchTopicPaths": Leaf(
                    v.PATHS,
                    ("docs/context7/planner-agent/topics/planning-and-orchestration.md",),
                    "research topics",
                ),
            },
            "planning by an agent",
        )
    },
    "draft",
)

WAVE_CONTROL = Block(
    {
        "enabled": Leaf(v.BOOL, True, "telemetry at all; false when reportMode is disabled"),
        "endpoint": Leaf(v.ENDPOINT, None, "service to report to; without one nothing leaves the machine"),
        "workspaceId": Leaf(v.TEXT, None, "workspace id; derived when absent"),
        "projectId": Leaf(v.TEXT, None, "project id for reports; default the resolved project id"),
        "authTokenEnvVar": Leaf(v.TEXT, "WAVE_API_TOKEN", "variable with the token"),
        "authTokenEnvVars": Leaf(
            v.UNIQUE_TEXTS, None, "variables tried in order; default authTokenEnvVar and WAVE_CONTROL_AUTH_TOKEN"
        ),
        "credentialProviders": Leaf(
            v.Kind("list of anthropic, openai", _credential_providers, is_list=True), (), "providers to lease keys of"
        ),
        "credentials": Leaf(v.Kind("list of {id, envVar}", _credentials, is_list=True), (), "credentials to lease"),
        "reportMode": Leaf(
            v.choice("metadata-only", "disabled", "metadata-plus-selected", "full-artifact-upload"),
            "metadata-only",
            "how much is reported",
        ),
        "uploadArtifactKinds": Leaf(v.TEXTS, UPLOAD_ARTIFACT_KINDS, "artifacts that may be uploaded"),
        "requestTimeoutMs": Leaf(v.POSITIVE, 5000, "time limit of a request in milliseconds"),
        "flushBatchSize": Leaf(v.POSITIVE, 25, "events of a batch"),
        "maxPendingEvents": Leaf(v.POSITIVE, 1000, "events kept while offline"),
        "captureCoordinationRecords": Leaf(v.BOOL, True, "report coordination records"),
        "captureControlPlaneEvents": Leaf(v.BOOL, True, "report lifecycle events"),
        "captureTraceBundles": Leaf(v.BOOL, True, "report trace bundles"),
        "captureBenchmarkRuns": Leaf(v.BOOL, True, "report benchmark runs"),
        "passEnvVars": Leaf(v.ENV_NAMES, (), "token variables that agents keep", added=True),
        "allowInsecureHttp": Leaf(v.BOOL, False, "allow plain http to another host", added=True),
    },
    "telemetry and credential leases",
)

_PROVIDER_MODE = v.choice("direct", "broker", "hybrid")

EXTERNAL_PROVIDERS = Block(
    {
        "context7": Block(
            {
                "mode": Leaf(_PROVIDER_MODE, "direct", "ask the provider, the broker, or both"),
                "apiKeyEnvVar": Leaf(v.TEXT, "CONTEXT7_API_KEY", "variable with the key"),
                "baseUrl": Leaf(v.URL, "https://context7.com/api/v2", "service"),
                "allowInsecureHttp": Leaf(v.BOOL, False, "allow plain http to another host"),
            },
            "library documentation",
        ),
        "corridor": Block(
            {
                "enabled": Leaf(v.BOOL, False, "use Corridor findings"),
                "mode": Leaf(_PROVIDER_MODE, "direct", "ask the provider, the broker, or both"),
                "baseUrl": Leaf(v.URL, "https://app.corridor.dev/api", "service"),
                "apiTokenEnvVar": Leaf(v.TEXT, "CORRIDOR_API_TOKEN", "variable with the token"),
                "apiKeyFallbackEnvVar": Leaf(v.TEXT, "CORRIDOR_API_KEY", "variable tried next"),
                "teamId": Leaf(v.TEXT, None, "team; required for direct mode"),
                "projectId": Leaf(v.TEXT, None, "project; required for direct mode"),
                "severityThreshold": Leaf(v.choice(*SEVERITIES), "critical", "least severity that blocks"),
                "findingStates": Leaf(v.LOWER_TEXTS, (), "states that count; empty counts all"),
                "requiredAtClosure": Leaf(v.BOOL, True, "closure waits for a valid result"),
                "allowInsecureHttp": Leaf(v.BOOL, False, "allow plain http to another host"),
            },
            "security findings",
        ),
    },
    "services outside",
)

SUPERVISOR = Block(
    {
        "leaseSeconds": Leaf(v.SECONDS, 15, "length of the lease"),
        "heartbeatSeconds": Leaf(v.SECONDS, 5, "heartbeat of the supervisor, at most a third of the lease"),
        "agentHeartbeatSeconds": Leaf(v.SECONDS, 10, "heartbeat of a runtime record"),
        "scanSeconds": Leaf(v.SECONDS, 2, "safety rescan while a run is active"),
        "idleExitSeconds": Leaf(v.SECONDS_OR_ZERO, 300, "an auto-started supervisor leaves after this; 0 never"),
        "maxConcurrentLaunches": Leaf(v.POSITIVE, 4, "agents in start-up per workspace"),
        "maxConcurrentAgents": Leaf(v.COUNT, 0, "running agents per workspace; 0 without limit"),
        "resumeLimit": Leaf(v.COUNT, 3, "launcher resumes without progress"),
        "terminationGraceSeconds": Leaf(v.SECONDS_OR_ZERO, 10, "from SIGTERM to SIGKILL"),
        "foreignHostGraceSeconds": Leaf(v.SECONDS_OR_ZERO, 300, "patience with a process of another host"),
        "takeover": Leaf(v.BOOL, True, "a successor may end a hung supervisor"),
        "keepRuns": Leaf(v.COUNT, 0, "finished runs kept by `runs --prune`; 0 keeps all"),
    },
    "the supervisor",
)

PATHS = Block(
    {
        "docsDir": Leaf(v.PATH, "docs", "documents"),
        "stateRoot": Leaf(v.PATH, ".tmp", "state trees of lanes"),
        "orchestratorStateDir": Leaf(v.PATH, ".tmp/wave-orchestrator", "state shared by lanes"),
        "terminalsPath": Leaf(v.PATH, ".vscode/terminals.json", "terminals of the editor"),
        "context7BundleIndexPath": Leaf(v.PATH, "docs/context7/bundles.json", "documentation bundles"),
        "benchmarkCatalogPath": Leaf(v.PATH, "docs/evals/benchmark-catalog.json", "benchmark catalog"),
        "componentCutoverMatrixDocPath": Leaf(v.PATH, None, "default <docsDir>/plans/component-cutover-matrix.md"),
        "componentCutoverMatrixJsonPath": Leaf(v.PATH, None, "default <docsDir>/plans/component-cutover-matrix.json"),
    },
    "locations",
)

_SHARED: dict[str, Node] = {
    "roles": ROLES,
    "validation": VALIDATION,
    "executors": EXECUTORS,
    "skills": SKILLS,
    "capabilityRouting": CAPABILITY_ROUTING,
    "runtimePolicy": RUNTIME_POLICY,
    "waveControl": WAVE_CONTROL,
    "externalProviders": EXTERNAL_PROVIDERS,
    "supervisor": SUPERVISOR,
}
_SHARED_PLAN_DOCS = Leaf(v.PATHS, None, "plan documents every agent may need; default three under plansDir")

LANE = Block(
    {
        "docsDir": Leaf(v.PATH, None, "documents of the lane"),
        "plansDir": Leaf(v.PATH, None, "plans; default <docsDir>/plans"),
        "wavesDir": Leaf(v.PATH, None, "wave files; default <plansDir>/waves"),
        "sharedPlanDocs": _SHARED_PLAN_DOCS,
        **{key: leaf for key, leaf in PATHS.fields.items() if key != "docsDir"},
        **_SHARED,
        **_POLICY_FIELDS,
    },
    "one lane",
)
_LANES = Keyed(LANE, _lane_key, "lanes", key_name="<lane>")

PROJECT = Block(
    {
        "projectName": Leaf(v.TEXT, None, "name for people; default the global name, then the id"),
        "rootDir": Leaf(v.PATH, ".", "directory of the project"),
        "sharedPlanDocs": _SHARED_PLAN_DOCS,
        "paths": PATHS,
        "planner": PLANNER,
        **_SHARED,
        "lanes": _LANES,
    },
    "one project",
)

TOP = Block(
    {
        "version": Leaf(v.COUNT, 1, "version of this file"),
        "projectName": Leaf(v.TEXT, "Wave Orchestrator", "name for people"),
        "repoMode": Leaf(v.choice("single-repo", "multi-lane"), "single-repo", "one lane, or lanes with own documents"),
        "defaultLane": Leaf(v.LANE_ID, "main", "lane of commands without --lane"),
        "defaultProject": Leaf(v.PROJECT_ID, "default", "project of commands without --project"),
        "paths": PATHS,
        "planner": PLANNER,
        **_SHARED,
        "sharedPlanDocs": _SHARED_PLAN_DOCS,
        "updateCheck": Block({"url": Leaf(v.URL, None, "where to ask for a newer version; absent: never")}, "updates"),
        "lanes": _LANES,
        "projects": Keyed(PROJECT, _project_key, "projects; makes them explicit", key_name="<project>"),
    }
)


class Row(NamedTuple):
    """One key as documentation shows it: dotted name, what it accepts, default as JSON text, meaning, and layers."""

    key: str
    accepts: str
    default: str
    text: str
    layers: tuple[str, ...]


def describe() -> list[Row]:
    """Every key once, in the order of the table; `layers` names those of global, project and lane that accept it."""
    rows = [row for row in _rows(TOP, "", ()) if not row.key.startswith(("lanes.", "projects."))]
    project = {row.key for row in _rows(PROJECT, "", ())}
    lane = {row.key for row in _rows(LANE, "", ())}
    known = {row.key for row in rows}
    rows = [row._replace(layers=_layers(row.key, True, row.key in project, row.key in lane)) for row in rows]
    rows += [row._replace(layers=("project",)) for row in _rows(PROJECT, "", ()) if _own(row.key, known)]
    rows += [row._replace(layers=("lane",)) for row in _rows(LANE, "", ()) if _own(row.key, known)]
    return rows


def _own(key: str, known: set[str]) -> bool:
    return key not in known and not key.startswith("lanes.")


def _layers(key: str, top: bool, project: bool, lane: bool) -> tuple[str, ...]:
    return tuple(name for name, there in (("global", top), ("project", project), ("lane", lane)) if there)


def _rows(node: Node, label: str, layers: tuple[str, ...]) -> Iterator[Row]:
    import json

    if isinstance(node, Leaf):
        default = json.dumps(node.default, ensure_ascii=False) if node.default is not None else "null"
        yield Row(label, node.kind.name, default, node.text, layers)
        return
    if isinstance(node, Keyed):
        yield Row(label, "object", "{}", node.text, layers)
        yield from _rows(node.item, f"{label}.{node.key_name}", layers)
        return
    for key, child in node.fields.items():
        yield from _rows(child, f"{label}.{key}" if label else key, layers)
