"""Asking Context7 and Corridor with the deployment's own keys. Spec: PROV 10.8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

from ...base.errors import WaveError
from ...base.http_json import (
    REFUSED,
    STATUS,
    TIMEOUT,
    TOO_LARGE,
    Budget,
    Call,
    HttpError,
    Retries,
    send,
    send_json,
    text_of,
)  # fmt: skip
from ...base.timestamps import now_iso
from ...engines import corridor_policy as policy
from ..corridor_listing import PAGE_LIMIT, ListingError, Upstream, fetch_findings, fetch_guardrails
from .api import ApiError, Request, Response, body_object, clean_text, text_list

if TYPE_CHECKING:
    from .settings import Broker

    JsonObject = dict[str, Any]

_SEARCH, _CONTEXT = ("libraryName", "query"), ("libraryId", "query", "type", "tokens", "topic", "page")
_MAX_TEXT = 1024 * 1024
_CORRIDOR_SECONDS = 55.0  # the runtime waits for 60
_THRESHOLDS = ("low", "medium", "high", "critical")


def require(request: Request, provider: str, key: str) -> Broker:
    """The preconditions of a broker route, in order. Raises ApiError."""
    broker = request.app.settings.broker
    if not broker.owned:
        raise ApiError("broker-not-owned", "This deployment does not broker.")
    if not key:
        raise ApiError("broker-not-configured", f"The {provider} broker is not configured.")
    if provider not in request.principal.grants:
        raise ApiError("provider-grant-missing", f"The owner of this token has no grant for {provider}.")
    return broker


# --- Context7 ---------------------------------------------------------------------------------------------------------


def context7_search(request: Request) -> Response:
    """`GET /providers/context7/search`: the upstream JSON."""
    try:
        return Response(send_json(_context7_call(request, "libs/search", _SEARCH, "application/json")))
    except HttpError as error:
        raise upstream_error(error) from None


def context7_context(request: Request) -> Response:
    """`GET /providers/context7/context`: the upstream text."""
    try:
        answer = send(_context7_call(request, "context", _CONTEXT, "text/plain, application/json"))
        text = text_of("Context7 request", answer)
    except HttpError as error:
        raise upstream_error(error) from None
    if answer.status == 202:
        raise ApiError("upstream-unavailable", "The documentation is not ready.", {"Retry-After": "5"})
    return Response(raw=text.encode("utf-8"), content_type="text/plain; charset=utf-8")


def _context7_call(request: Request, path: str, names: tuple[str, ...], accept: str) -> Call:
    broker = require(request, "context7", request.app.settings.broker.context7_key)
    query = urlencode({name: request.query[name] for name in names if name in request.query})
    url = f"{broker.context7_base_url}/{path}" + (f"?{query}" if query else "")
    return Call(
        "Context7 request", "GET", url, broker.context7_key, accept, timeout=broker.timeout_seconds,
        max_bytes=_MAX_TEXT, retries=_retries(broker),
    )  # fmt: skip


# --- Corridor ---------------------------------------------------------------------------------------------------------


def corridor_context(request: Request) -> Response:
    """`POST /providers/corridor/context`: matched findings, complete or not at all."""
    broker = require(request, "corridor", request.app.settings.broker.corridor_token)
    body = body_object(request)
    project_id = clean_text(body.get("projectId"))
    project = broker.corridor_projects.get(project_id or "")
    owned = text_list(body.get("ownedPaths"), "ownedPaths")
    if not owned:
        raise ApiError("invalid-body", "ownedPaths must not be empty.")
    threshold = _threshold(body.get("severityThreshold"))
    states = [item.lower() for item in text_list(body.get("findingStates") or [], "findingStates", most=50)]
    wave = body.get("wave")
    if wave is not None and (isinstance(wave, bool) or not isinstance(wave, int)):
        raise ApiError("invalid-body", "wave must be an integer.")
    if project_id is None or project is None:
        raise ApiError("project-not-mapped", "This project has no Corridor project here.")
    eligible = policy.keep_eligible(owned)
    guardrails: list[JsonObject] = []
    findings = policy.Findings([], [], 0)
    if eligible:
        upstream = Upstream(
            broker.corridor_base_url, broker.corridor_token, project.project_id, broker.timeout_seconds,
            retries=_retries(broker), max_pages=broker.max_pages,
        )  # fmt: skip
        budget = Budget(_CORRIDOR_SECONDS)
        try:
            guardrails = fetch_guardrails(upstream, budget)
            findings = policy.match_findings(
                fetch_findings(upstream, list(dict.fromkeys(states)), budget), eligible, threshold
            )
        except WaveError as error:
            raise upstream_error(error) from None
    return Response(
        {
            "ok": True,
            "error": None,
            "schemaVersion": 1,
            "source": "wave-control-broker",
            "providerMode": "broker",
            "fetchedAt": now_iso(),
            "wave": wave,
            "project": {
                "waveProjectId": project_id,
                "corridorProjectId": project.project_id,
                "teamId": project.team_id,
            },
            "relevantOwnedPaths": eligible,
            "severityThreshold": threshold,
            "guardrails": guardrails,
            "matchedFindings": findings.matched,
            "blockingFindings": findings.blocking,
            "unlocatedFindings": findings.unlocated,
            "blocking": bool(findings.blocking),
        }
    )


def _threshold(value: object) -> str:
    text = value.strip().lower() if isinstance(value, str) else value
    if text is None or text == "":
        return "critical"
    if text not in _THRESHOLDS:
        raise ApiError("invalid-body", f"severityThreshold must be one of: {', '.join(_THRESHOLDS)}.")
    return str(text)


# --- shared -----------------------------------------------------------------------------------------------------------


def _retries(broker: Broker) -> Retries:
    return Retries(broker.max_retries + 1, base_delay=0.25, max_retry_after=5.0)


def upstream_error(error: WaveError) -> ApiError:
    """What a failed upstream call is to our client, which retries 503 and 504 only."""
    if isinstance(error, ListingError):
        return ApiError("upstream-page-limit" if error.kind == PAGE_LIMIT else "upstream-shape", str(error))
    if not isinstance(error, HttpError):
        return ApiError("upstream-error", str(error))
    if error.kind == TIMEOUT:
        return ApiError("upstream-timeout", str(error))
    status = error.status or 0
    if error.kind == STATUS and (status in (408, 429) or status >= 500):
        after = min(max(int(error.retry_after or 1), 1), 30)
        return ApiError("upstream-unavailable", str(error), {"Retry-After": str(after)})
    if error.kind in (STATUS, REFUSED, TOO_LARGE):
        return ApiError("upstream-error", str(error))
    return ApiError("upstream-shape" if error.status else "upstream-error", str(error))


def signed_upload(request: Request) -> NoReturn:
    """`POST /artifacts/signed-upload`: there is no bucket storage here."""
    raise ApiError("not-implemented", "Bodies go inline with their events; there is no bucket storage.")
