"""The route table, and what happens to a request before its handler: route, method, token, scope, body.

Spec: PROV 10.3 (order), 10.5 (table).
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Callable, NamedTuple
from urllib.parse import unquote

from ... import __version__
from . import brokers, ingest, leases, queries, service_routes
from .api import ApiError, Request, Response
from .auth import PUBLIC, READ, Authenticator, Principal
from .page import page_html

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .settings import ServerSettings
    from .store import Store

SMALL_BODY = 1_048_576


class Route(NamedTuple):
    """One line of the table. `{name}` in the path takes one segment; `scope`: `public`, `read` or a token's scope."""

    method: str
    path: str
    scope: str
    handler: Callable[[Request], Response]
    summary: str
    query: tuple[str, ...] = ()
    large_body: bool = False


def health(request: Request) -> Response:
    """`GET /health`."""
    return Response({"ok": True, "service": "wave-control", "store": "SqliteWaveControlStore", "version": __version__})


def openapi(request: Request) -> Response:
    """`GET /openapi.json`."""
    from .openapi import document

    return Response(document(ROUTES))


def page(request: Request) -> Response:
    """`GET /`: the read-only page."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    html = page_html(request.app.settings.title, nonce).encode("utf-8")
    return Response(raw=html, content_type="text/html; charset=utf-8", headers=headers)


_FILTERS = ("workspaceId", "projectId", "runKind", "runId", "lane", "wave", "orchestratorId", "runtimeVersion",
            "benchmarkRunId")  # fmt: skip
_LISTED = (*_FILTERS, "limit", "offset")
_USER = "/service/users/{id}"
_WRITE_USER, _WRITE_TOKEN, _READ_SERVICE = "service:user:write", "service:token:write", "service:read"

API = "/api/v1"
_PAGES = (
    Route("GET", "/", PUBLIC, page, "The read-only page."),
    Route("GET", "/ui", PUBLIC, page, "The read-only page."),
)
_API_ROUTES = (
    Route("GET", "/health", PUBLIC, health, "Whether the service is up."),
    Route("GET", "/openapi.json", PUBLIC, openapi, "This description."),
    Route("POST", "/ingest/batches", "ingest:write", ingest.ingest, "Take in a batch of events.", large_body=True),
    Route("GET", "/runs", READ, queries.runs, "Runs, most recently updated first.", _LISTED),
    Route("GET", "/run", READ, queries.run, "One run with its timeline.", _FILTERS),
    Route("GET", "/benchmarks", READ, queries.benchmarks, "Benchmark runs.", _LISTED),
    Route("GET", "/benchmark", READ, queries.benchmark, "One benchmark run.", _FILTERS),
    Route("GET", "/analytics/overview", READ, queries.overview, "Counters over everything that matches.", _FILTERS),
    Route("GET", "/artifact", READ, queries.artifact, "One artifact.", ("eventId", "artifactId", "inline", "download")),
    Route("GET", "/providers/context7/search", "broker:read", brokers.context7_search, "Find a library.",
          ("libraryName", "query")),
    Route("GET", "/providers/context7/context", "broker:read", brokers.context7_context, "Documentation of a library.",
          ("libraryId", "query", "type", "tokens", "topic", "page")),
    Route("POST", "/providers/corridor/context", "broker:read", brokers.corridor_context, "Matched findings."),
    Route("POST", "/runtime/provider-env", "credential:read", leases.provider_env, "Lease provider keys."),
    Route("POST", "/runtime/credential-env", "credential:read", leases.credential_env, "Lease credentials."),
    Route("POST", "/artifacts/signed-upload", "ingest:write", brokers.signed_upload, "Not offered."),
    Route("GET", "/service/session", _READ_SERVICE, service_routes.session, "Whose token this is."),
    Route("GET", "/service/users", _READ_SERVICE, service_routes.users, "All users."),
    Route("POST", "/service/users", _WRITE_USER, service_routes.upsert_user, "Create or update a user by e-mail."),
    Route("POST", f"{_USER}/state", _WRITE_USER, service_routes.set_state, "Set a user's access state."),
    Route("POST", f"{_USER}/role", _WRITE_USER, service_routes.set_role, "Set a user's role."),
    Route("POST", f"{_USER}/providers", _WRITE_USER, service_routes.set_providers, "Set a user's grants."),
    Route("GET", f"{_USER}/credentials", _READ_SERVICE, service_routes.credentials, "Names of mounted credentials."),
    Route("POST", f"{_USER}/tokens", _WRITE_TOKEN, service_routes.create_token, "Create a personal access token."),
    Route("POST", "/service/tokens/{id}/revoke", _WRITE_TOKEN, service_routes.revoke_token, "Revoke a token."),
)  # fmt: skip
ROUTES = (*_PAGES, *(route._replace(path=API + route.path) for route in _API_ROUTES))
"""Every route there is; the OpenAPI document is made from this table."""


class App:
    """What all requests share."""

    def __init__(self, settings: ServerSettings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.authenticator = Authenticator(settings, store)
        self._patterns = [(re.compile(_pattern(route.path)), route) for route in ROUTES]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and the values of its placeholders. Raises ApiError: not found, or another method."""
        plain = path.rstrip("/") or "/"
        allowed = []
        for pattern, route in self._patterns:
            found = pattern.fullmatch(plain)
            if found is None:
                continue
            if route.method == method or (method == "HEAD" and route.method == "GET"):
                return route, {name: unquote(value) for name, value in found.groupdict().items()}
            allowed.append(route.method)
        if allowed:
            allow = ", ".join(sorted({*allowed, "OPTIONS"}))
            raise ApiError("method-not-allowed", "This route does not know the method.", {"Allow": allow})
        raise ApiError("not-found", "There is no such route.")

    def authorize(self, route: Route, authorization: str | None) -> Principal:
        """Who asks, if they may. Raises ApiError."""
        principal = self.authenticator.principal(authorization if route.scope != PUBLIC else None)
        self.authenticator.require(principal, route.scope)
        return principal

    def body_limit(self, route: Route) -> int:
        """How many bytes a request of this route may have."""
        return self.settings.max_body_bytes if route.large_body else SMALL_BODY

    def answer(
        self, route: Route, parts: Mapping[str, str], query: Mapping[str, str], principal: Principal, body: Any
    ) -> Response:
        """Run the handler. Raises ApiError."""
        return route.handler(Request(self, route.method, route.path, parts, query, principal, body))


def _pattern(path: str) -> str:
    return re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
