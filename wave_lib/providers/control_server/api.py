"""What routes speak in: requests, answers, errors with a normative code. Spec: PROV 10.3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .app import App
    from .auth import Principal

JsonObject = dict[str, Any]

STATUS_OF_CODE = {
    "unauthorized": 401,
    **dict.fromkeys(
        ("insufficient-scope", "owner-not-approved", "provider-grant-missing", "owner-required",
         "service-token-required", "broker-not-owned", "broker-not-configured", "provider-disabled"), 403),
    **dict.fromkeys(
        ("project-not-mapped", "credential-not-found", "run-not-found", "benchmark-not-found", "artifact-not-found",
         "user-not-found", "token-not-found", "not-found"), 404),
    **dict.fromkeys(("invalid-json", "invalid-body", "invalid-query", "provider-unknown", "provider-broker-only"), 400),
    "method-not-allowed": 405,
    "length-required": 411,
    **dict.fromkeys(("body-too-large", "batch-too-large", "artifact-too-large"), 413),
    "request-too-large": 431,
    **dict.fromkeys(("credential-store-unavailable", "internal"), 500),
    "not-implemented": 501,
    **dict.fromkeys(("upstream-error", "upstream-shape", "upstream-page-limit"), 502),
    **dict.fromkeys(("upstream-unavailable", "overloaded"), 503),
    "upstream-timeout": 504,
}  # fmt: skip
"""Every code an error answer can carry, with its status."""


class ApiError(Exception):
    """An error answer: the code decides the status, the sentence is for people and never holds a secret."""

    def __init__(self, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.status = STATUS_OF_CODE[code]
        self.headers = dict(headers or {})


class Request(NamedTuple):
    """One request after routing, authentication and scope check. `body` is the JSON value, None without one."""

    app: App
    method: str
    path: str
    parts: Mapping[str, str]  # the values of `{name}` in the route's pattern
    query: Mapping[str, str]
    principal: Principal
    body: Any = None


class Response(NamedTuple):
    """One answer: JSON unless `raw` is given."""

    value: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}
    raw: bytes | None = None
    content_type: str = "application/json; charset=utf-8"

    def payload(self) -> bytes:
        """The bytes of the answer."""
        return json_bytes(self.value) if self.raw is None else self.raw


def json_bytes(value: Any) -> bytes:
    """JSON with two blanks of indentation and a final newline."""
    try:
        return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate has an escape and no UTF-8 form
        return (json.dumps(value, indent=2) + "\n").encode("ascii")


def body_object(request: Request) -> JsonObject:
    """The body, which must be an object."""
    if not isinstance(request.body, dict):
        raise ApiError("invalid-body", "The body must be a JSON object.")
    return request.body


def text_list(value: object, field: str, *, most: int = 2000) -> list[str]:
    """A list of strings without doubles and blanks; ApiError for anything else."""
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, str) for item in value):
        raise ApiError("invalid-body", f"{field} must be a list of at most {most} strings.")
    if any("\ud800" <= char <= "\udfff" for item in value for char in item):
        raise ApiError("invalid-body", f"{field} holds half a character.")
    return list(dict.fromkeys(item.strip() for item in value if item.strip()))


def clean_text(value: object, limit: int = 1000) -> str | None:
    """Text that a database can hold: trimmed, valid UTF-8, not longer than `limit`; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip().encode("utf-8", "replace").decode("utf-8")[:limit] or None
