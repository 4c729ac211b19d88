"""The OpenAPI document, made from the route table. Spec: PROV 10.5; issue 6."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ... import __version__
from ..provider_runtime import PROVIDER_VARIABLES
from .accounts import ACCESS_STATES, PAT_SCOPES, PROVIDERS, ROLES
from .api import STATUS_OF_CODE
from .auth import PUBLIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .app import Route

JsonObject = dict[str, Any]

_COUNTED = ("wave", "limit", "offset")
_TEXT: JsonObject = {"type": "string"}
_TEXTS: JsonObject = {"type": "array", "items": _TEXT}
_SAID: JsonObject = {"type": "string", "minLength": 1, "pattern": r"\S"}  # more than blanks
_COUNT: JsonObject = {"type": "integer", "minimum": 0, "maximum": 2**53}
_NEEDED = {"/artifact": ("eventId", "artifactId")}
_EVENT: JsonObject = {
    "type": "object",
    "required": ["id", "entityType", "recordedAt", "identity"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 200},
        "schemaVersion": {"type": "integer", "enum": [1]},
        "kind": {"type": "string", "enum": ["wave-control-event"]},
        "entityType": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$"},
        "entityId": _TEXT,
        "action": _TEXT,
        "recordedAt": {"type": "string", "format": "date-time"},
        "identity": {"type": "object", "properties": {"wave": {**_COUNT, "nullable": True}}},
        "data": {"type": "object"},
        "tags": _TEXTS,
        "artifacts": {"type": "array", "items": {"type": "object"}},
        "artifactUploads": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["artifactId", "content"],
                "properties": {"artifactId": _TEXT, "contentType": _TEXT, "encoding": _TEXT, "content": _TEXT},
            },
        },
    },
}
_LEASABLE: JsonObject = {"type": "string", "enum": sorted(PROVIDER_VARIABLES)}
_ROLES: JsonObject = {"type": "string", "enum": list(ROLES)}
_STATES: JsonObject = {"type": "string", "enum": list(ACCESS_STATES)}
_GRANTS: JsonObject = {"type": "array", "items": {"type": "string", "enum": list(PROVIDERS)}}
_SCOPES: JsonObject = {"type": "array", "items": {"type": "string", "enum": list(PAT_SCOPES)}}
_BODIES: dict[str, JsonObject] = {
    "/ingest/batches": {
        "required": ["events"],
        "properties": {"events": {"type": "array", "items": _EVENT, "maxItems": 200}},
    },
    "/providers/corridor/context": {
        "required": ["projectId", "ownedPaths"],
        "properties": {
            "projectId": _SAID,
            "ownedPaths": {"type": "array", "items": _SAID, "minItems": 1, "maxItems": 2000},
            "severityThreshold": {"type": "string", "enum": ["low", "medium", "high", "critical"]},
            "findingStates": {"type": "array", "items": _TEXT, "nullable": True},
            "wave": {"type": "integer", "nullable": True},
        },
    },
    "/runtime/provider-env": {
        "required": ["providers"],
        "properties": {"providers": {"type": "array", "items": _LEASABLE, "minItems": 1}},
    },
    "/runtime/credential-env": {
        "required": ["credentials"],
        "properties": {
            "credentials": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["id", "envVar"],
                    "properties": {
                        "id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9._-]*$"},
                        "envVar": {"type": "string", "pattern": "^[A-Z_][A-Z0-9_]*$"},
                    },
                },
            }
        },
    },
    "/service/users": {
        "required": ["email"],
        "properties": {
            "email": {"type": "string", "format": "email"},
            "displayName": {**_TEXT, "nullable": True},
            "role": {**_ROLES, "nullable": True},
            "accessState": {**_STATES, "nullable": True},
            "providerGrants": {**_GRANTS, "nullable": True},
        },
    },
    "/users/{id}/state": {"required": ["accessState"], "properties": {"accessState": _STATES}},
    "/users/{id}/role": {
        "required": ["role"],
        "properties": {"role": _ROLES, "providerGrants": {**_GRANTS, "nullable": True}},
    },
    "/users/{id}/providers": {"required": ["providerGrants"], "properties": {"providerGrants": _GRANTS}},
    "/users/{id}/tokens": {"properties": {"label": {**_TEXT, "nullable": True}, "scopes": _SCOPES}},
}


def document(routes: Sequence[Route]) -> JsonObject:
    """The description of every API route, its parameters and its error codes."""
    paths: dict[str, JsonObject] = {}
    for route in routes:
        if route.path.startswith("/api/"):
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.0.3",
        "info": {"title": "Wave Control", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error", "code"],
                    "properties": {"error": _TEXT, "code": {"type": "string", "enum": sorted(STATUS_OF_CODE)}},
                }
            },
        },
    }


def _operation(route: Route) -> JsonObject:
    names = re.findall(r"\{(\w+)\}", route.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    for name in route.query:
        needed = any(route.path.endswith(end) and name in names for end, names in _NEEDED.items())
        schema = _COUNT if name in _COUNTED else {**_TEXT, "minLength": 1} if needed else _TEXT
        parameters.append({"name": name, "in": "query", "required": needed, "schema": schema})
    operation: JsonObject = {
        "operationId": f"{route.method.lower()}_{re.sub('[^a-z0-9]+', '_', route.path.lower()).strip('_')}",
        "summary": route.summary,
        "parameters": parameters,
        "responses": _responses(route),
        "security": [] if route.scope == PUBLIC else [{"bearer": []}],
        "x-scope": route.scope,
    }
    if route.method == "POST":
        shape = next((body for end, body in _BODIES.items() if route.path.endswith(end)), {})
        schema = {"type": "object", **shape}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _responses(route: Route) -> JsonObject:
    kind = "text/plain" if route.path.endswith("/context7/context") else "application/json"
    content: JsonObject = {kind: {"schema": {}}}
    if route.path.endswith("/artifact"):
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    found: JsonObject = {"200": {"description": "Done.", "content": content}}
    if route.path.endswith(("/users", "/tokens")) and route.method == "POST":
        found["201"] = {"description": "Created.", "content": content}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    if route.path.endswith("/signed-upload"):
        found = {}
    return {**found, "default": {"description": "An error with its code.", "content": error}}
