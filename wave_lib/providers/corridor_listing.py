"""Reading Corridor to the end: reports, and findings page by page. A listing is complete or it is an error.

Used by the runtime (direct mode) and by the owned service (broker). Spec: PROV 4.5, 4.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from ..base.errors import WaveError
from ..base.http_json import UNLIMITED, Budget, Call, Retries, send_json, url_within
from ..engines.corridor_policy import in_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    JsonObject = dict[str, Any]

MAX_FINDINGS = 5000
SHAPE, PAGE_LIMIT = "shape", "page-limit"


class ListingError(WaveError):
    """The listing is inconsistent or too long; `kind` is `shape` or `page-limit`."""

    default_key = "corridor-listing"

    def __init__(self, what: str, kind: str) -> None:
        super().__init__(what)
        self.kind = kind


class Upstream(NamedTuple):
    """Where Corridor is and how it is asked. `timeout`: seconds a request."""

    base_url: str
    token: str
    project_id: str
    timeout: float = 10.0
    allow_insecure: bool = False
    retries: Retries = Retries()
    max_pages: int = 100


def fetch_guardrails(upstream: Upstream, budget: Budget = UNLIMITED) -> list[JsonObject]:
    """The project's reports as received. Raises HttpError. Spec: PROV 4.5."""
    answer = _get(upstream, f"{_project_url(upstream)}/reports", budget)
    found = answer if isinstance(answer, list) else _first_list(answer, ("reports", "items", "data"))
    return [item for item in found or [] if isinstance(item, dict)]


def fetch_findings(upstream: Upstream, states: Sequence[str], budget: Budget = UNLIMITED) -> list[JsonObject]:
    """Every finding in the given states, or all without states. Raises HttpError, ListingError."""
    asked: set[str] = set()
    found: list[JsonObject] = []
    for state in states or (None,):
        found += _pages(upstream, state, asked, budget)
    return in_states(found, states)


def _pages(upstream: Upstream, state: str | None, asked: set[str], budget: Budget) -> list[JsonObject]:
    findings: list[JsonObject] = []
    url: str | None = _findings_url(upstream, state)
    pages = 0
    while url is not None:
        if pages >= upstream.max_pages or len(findings) > MAX_FINDINGS:
            raise ListingError(f"Corridor request failed: page limit reached ({pages} pages)", PAGE_LIMIT)
        if url in asked:
            raise ListingError("Corridor request failed: the pages go round in a circle", SHAPE)
        asked.add(url)
        answer = _get(upstream, url, budget)
        pages += 1
        page = answer if isinstance(answer, list) else _first_list(answer, ("items", "findings", "data"))
        if page is None or not all(isinstance(item, dict) for item in page):
            raise ListingError("Corridor request failed: unexpected shape of the findings", SHAPE)
        findings += page
        url = _next_url(upstream, state, url, answer) if isinstance(answer, dict) else None
    return findings


def _next_url(upstream: Upstream, state: str | None, url: str, answer: JsonObject) -> str | None:
    """The next page's URL, None after the last page. Spec: PROV 4.6 rules 3 and 4."""
    link, cursor = answer.get("nextPageUrl"), answer.get("nextCursor")
    page, total = answer.get("page"), answer.get("totalPages")
    if link:
        following = url_within(upstream.base_url, url, link) if isinstance(link, str) else None
        if following is None:
            raise ListingError("Corridor request failed: the next page is not below the configured base URL", SHAPE)
        return following
    if cursor is not None and cursor != "":
        if isinstance(cursor, (dict, list, bool)):
            raise ListingError("Corridor request failed: unexpected shape of nextCursor", SHAPE)
        return _findings_url(upstream, state, cursor=str(cursor))
    number, last = _number(page), _number(total)
    if number is not None and last is not None and number < last:
        return _findings_url(upstream, state, page=str(int(number) + 1))
    if answer.get("hasMore") is True:
        raise ListingError("Corridor request failed: there is more, and nothing says where", SHAPE)
    return None


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _first_list(answer: object, keys: Sequence[str]) -> list[Any] | None:
    if not isinstance(answer, dict):
        return None
    return next((answer[key] for key in keys if isinstance(answer.get(key), list)), None)


def _project_url(upstream: Upstream) -> str:
    return f"{upstream.base_url.rstrip('/')}/projects/{quote(upstream.project_id, safe='')}"


def _findings_url(upstream: Upstream, state: str | None, **more: str) -> str:
    query = {**({"state": state} if state else {}), **more}
    return f"{_project_url(upstream)}/findings" + (f"?{urlencode(query)}" if query else "")


def _get(upstream: Upstream, url: str, budget: Budget) -> Any:
    call = Call(
        "Corridor request", "GET", url, upstream.token, timeout=upstream.timeout,
        allow_insecure=upstream.allow_insecure, retries=upstream.retries,
    )  # fmt: skip
    return send_json(call, budget)
