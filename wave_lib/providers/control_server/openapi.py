"""The OpenAPI document, made from the route table. Spec: PROV 10.5; issue 6."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ... import __version__
from .api import STATUS_OF_CODE
from .auth import PUBLIC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .app import Route

    JsonObject = dict[str, Any]

_COUNTED = ("wave", "limit", "offset")
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_BODIES: dict[str, JsonObject] = {
    "/ingest/batches": {"required": ["events"], "properties": {"events": _OBJECTS}},
    "/providers/corridor/context": {
        "required": ["projectId", "ownedPaths"],
        "properties": {
            "projectId": _TEXT,
            "ownedPaths": {**_TEXTS, "minItems": 1, "maxItems": 2000},
            "severityThreshold": {"type": "string", "enum": ["low", "medium", "high", "critical"]},
            "findingStates": {"type": "array", "items": _TEXT, "nullable": True},
            "wave": {"type": "integer", "nullable": True},
        },
    },
    "/runtime/provider-env": {"required": ["providers"], "properties": {"providers": {**_TEXTS, "minItems": 1}}},
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
        schema: JsonObject = {"type": "integer", "minimum": 0} if name in _COUNTED else _TEXT
        parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
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
    return {**found, "default": {"description": "An error with its code.", "content": error}}
