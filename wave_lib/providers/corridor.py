"""Corridor's evidence for a wave: fetched once an attempt, kept as one artifact that gates and summaries read.

Holds:       while it fetches, the lock `security/wave-<n>-corridor.lock`.
Writes:      `security/wave-<n>-corridor.json`, atomically, also when the fetch failed.
When killed: the artifact is the former one or none, and the next attempt fetches anew; no artifact stops closure.

Spec: PROV 4.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..base.files import read_json, write_json
from ..base.locks import locked
from ..base.redaction import redact
from ..base.text import compact
from ..base.timestamps import now_iso
from ..engines import corridor_policy as policy
from . import provider_runtime as runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave

    JsonObject = dict[str, Any]

DIRECT_BUDGET_SECONDS = BROKER_BUDGET_SECONDS = 60.0
DIRECT_SOURCE, BROKER_SOURCE = "corridor-api", "wave-control-broker"
_LOCK_PATIENCE_SECONDS = 150.0


class Load(NamedTuple):
    """What one provider said. `blocking` is its own word, which never lifts ours."""

    mode: str
    source: str
    guardrails: list[JsonObject]
    findings: policy.Findings
    blocking: bool = False
    fallback_reason: str = ""


def corridor_config(paths: LanePaths) -> JsonObject:
    """The lane's effective Corridor block."""
    return paths.profile.external_providers.get("corridor") or {}


def read_artifact(paths: LanePaths, wave: Wave, bindings: RoleBindings) -> JsonObject | None:
    """The artifact that may be believed now, None when none is materialised. Never asks anybody. Spec: PROV 4.9."""
    config = corridor_config(paths)
    if not config.get("enabled"):
        return None
    try:
        found = read_json(paths.corridor_artifact(wave.wave)).value
    except WaveError:
        found = None
    return _valid(paths, wave, found, config, policy.eligible_owned_paths(wave, bindings, paths.profile, paths.root))


def _valid(
    paths: LanePaths, wave: Wave, artifact: object, config: JsonObject, eligible: Sequence[str]
) -> JsonObject | None:
    return policy.valid_artifact(
        artifact, config, wave=wave.wave, lane=paths.lane, project_id=paths.project_id, eligible=eligible
    )


def materialize_corridor(
    paths: LanePaths, wave: Wave, bindings: RoleBindings, attempt: int, environ: Mapping[str, str] | None = None
) -> JsonObject | None:
    """Fetch (once an attempt), write and return the artifact; None when Corridor is off. Spec: PROV 4.1, 4.8."""
    config = corridor_config(paths)
    if not config.get("enabled"):
        return None
    eligible = policy.eligible_owned_paths(wave, bindings, paths.profile, paths.root)
    path = paths.corridor_artifact(wave.wave)
    with locked(paths.corridor_lock(wave.wave), timeout=_LOCK_PATIENCE_SECONDS, shown=paths.rel(path)):
        stored = read_json(path).value
        if isinstance(stored, dict) and stored.get("attempt") == attempt:
            valid = _valid(paths, wave, stored, config, eligible)
            if valid is stored:
                return stored
        artifact = fetch(paths, config, wave.wave, attempt, eligible, os.environ if environ is None else environ)
        write_json(path, artifact)
    return artifact


def fetch(
    paths: LanePaths,
    config: JsonObject,
    wave: int,
    attempt: int | None,
    eligible: list[str],
    environ: Mapping[str, str],
) -> JsonObject:
    """The artifact of a fetch made now; a failure is an artifact too. Spec: PROV 4.5-4.8."""
    required = config.get("requiredAtClosure") is not False
    artifact: JsonObject = {
        "schemaVersion": policy.SCHEMA_VERSION,
        "wave": wave,
        "lane": paths.lane,
        "projectId": paths.project_id,
        "attempt": attempt,
        "ok": True,
        "configuredMode": config["mode"],
        "providerMode": config["mode"],
        "source": None,
        "requiredAtClosure": required,
        "severityThreshold": config["severityThreshold"],
        "fetchedAt": now_iso(),
        "relevantOwnedPaths": eligible,
        "guardrails": [],
        "matchedFindings": [],
        "blockingFindings": [],
        "unlocatedFindings": 0,
        "blocking": False,
        "error": None,
        "configFingerprint": policy.config_fingerprint(config),
    }
    if not eligible:
        return {**artifact, "detail": policy.NO_PATHS_DETAIL}
    try:
        load = _load(paths, config, wave, eligible, environ)
    except WaveError as error:
        return {**artifact, "ok": False, "blocking": required, "error": compact(redact(str(error)), 500)}
    artifact.update(
        providerMode=load.mode,
        source=load.source,
        guardrails=load.guardrails,
        matchedFindings=load.findings.matched,
        blockingFindings=load.findings.blocking,
        unlocatedFindings=load.findings.unlocated,
        blocking=bool(load.findings.blocking) or load.blocking,
    )
    if load.fallback_reason:
        artifact["fallbackReason"] = compact(redact(load.fallback_reason), 500)
    return artifact


def _load(
    paths: LanePaths, config: JsonObject, wave: int, eligible: list[str], environ: Mapping[str, str]
) -> Load:
    mode = config["mode"]
    if mode == "direct":
        return _load_direct(paths, config, eligible, environ)
    try:
        return _load_broker(paths, config, wave, eligible, environ)
    except WaveError as broker_error:
        if mode == "broker":
            raise
        try:
            load = _load_direct(paths, config, eligible, environ)
        except WaveError as direct_error:
            raise runtime.ProviderUnavailable(f"broker: {broker_error}; direct: {direct_error}") from None
        return load._replace(fallback_reason=str(broker_error))


def _load_direct(paths: LanePaths, config: JsonObject, eligible: list[str], environ: Mapping[str, str]) -> Load:
    from ..base.http_json import Budget
    from .corridor_listing import Upstream, fetch_findings, fetch_guardrails

    missing = [key for key in ("teamId", "projectId") if not config.get(key)]
    if missing:
        names = " and ".join(f"externalProviders.corridor.{key}" for key in missing)
        raise runtime.ProviderUnavailable(f"Corridor cannot be asked directly without {names}")
    variables = [config["apiTokenEnvVar"], config["apiKeyFallbackEnvVar"]]
    token = runtime.resolve_env_value(variables, environ)
    if not token:
        raise runtime.ProviderUnavailable(f"Corridor has no token: set {' or '.join(variables)}")
    upstream = Upstream(
        config["baseUrl"], token, str(config["projectId"]), allow_insecure=bool(config.get("allowInsecureHttp"))
    )
    budget = Budget(DIRECT_BUDGET_SECONDS)
    guardrails = fetch_guardrails(upstream, budget)
    raw = fetch_findings(upstream, config["findingStates"], budget)
    findings = policy.match_findings(raw, eligible, config["severityThreshold"], paths.root)
    return Load("direct", DIRECT_SOURCE, guardrails, findings)


def _load_broker(
    paths: LanePaths, config: JsonObject, wave: int, eligible: list[str], environ: Mapping[str, str]
) -> Load:
    from ..base.http_json import Budget, Call, send_json

    service = runtime.owned_service(paths.profile.wave_control, environ)
    body = {
        "projectId": paths.project_id,
        "wave": wave,
        "ownedPaths": eligible,
        "severityThreshold": config["severityThreshold"],
        "findingStates": list(config["findingStates"]),
    }
    call = Call(
        "Corridor broker request", "POST", f"{service.endpoint}/providers/corridor/context", service.token, body=body,
        timeout=BROKER_BUDGET_SECONDS, allow_insecure=service.allow_insecure,
    )  # fmt: skip
    answer = send_json(call, Budget(BROKER_BUDGET_SECONDS))
    raw = answer.get("matchedFindings") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or answer.get("ok") is not True or not isinstance(raw, list):
        told = answer.get("error") if isinstance(answer, dict) else None
        why = compact(told, 240) if isinstance(told, str) and told else "malformed broker response"
        raise runtime.ProviderUnavailable(f"Corridor broker request failed: {why}")
    if not all(isinstance(item, dict) for item in raw):
        raise runtime.ProviderUnavailable("Corridor broker request failed: malformed broker response")
    findings = policy.match_findings(raw, eligible, config["severityThreshold"], paths.root, brokered=True)
    unlocated = answer.get("unlocatedFindings")
    if isinstance(unlocated, int):
        findings = findings._replace(unlocated=findings.unlocated + unlocated)
    guardrails = answer.get("guardrails")
    reports = [item for item in guardrails if isinstance(item, dict)] if isinstance(guardrails, list) else []
    return Load("broker", BROKER_SOURCE, reports, findings, answer.get("blocking") is True)
