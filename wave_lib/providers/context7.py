"""Context7: library documentation for prompts. Advisory: whatever goes wrong here, the agent is launched. Spec: PROV 5.

Holds:       nothing.
Writes:      `context7-cache/<key>.json` (a cache: may be deleted at any time).
When killed: an entry is whole or not there.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from ..base.errors import WaveError
from ..base.files import read_json, remove, write_json
from ..base.redaction import redact
from ..base.text import compact, compact_json, sha256_text
from ..base.timestamps import iso_of, parse_iso
from . import provider_runtime as runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..base.http_json import Budget, Call

    JsonObject = dict[str, Any]

PROMPT_BUDGET = 12_000
FRESH_SECONDS = 24 * 3600.0
KEPT_SECONDS = 7 * 24 * 3600.0
OUTAGE_SECONDS = 60.0
REQUEST_SECONDS = 10.0
PREFETCH_SECONDS = 45.0
MAX_TEXT = 1024 * 1024
TRUNCATED = "[Context7 output truncated to fit prompt budget]"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # no prompt, argument or terminal wants them
ATTACHED_MODES = ("fetched", "fetched-broker", "cached")


class Prefetched(NamedTuple):
    """What a prompt gets. `mode` is one of PROV 5.5; `warning` says why there is no text, or what is wrong with it."""

    mode: str
    selection: JsonObject | None
    prompt_text: str = ""
    snippet_hash: str = ""
    warning: str = ""

    @property
    def attached(self) -> bool:
        """Whether the prompt holds documentation."""
        return self.mode in ATTACHED_MODES

    def to_json(self) -> JsonObject:
        """The form of the trace. Spec: PROV 5.6."""
        return {
            "selection": self.selection,
            "mode": self.mode,
            "warning": self.warning or None,
            "snippetHash": self.snippet_hash or None,
        }


class Settings(NamedTuple):
    """What a lane says about Context7."""

    context7: Mapping[str, Any]
    control: Mapping[str, Any]
    cache_dir: str


class NoKey(WaveError):
    """Direct access without a key."""


class Outage:
    """Remembers that the service is down, so that ten agents do not each wait for the same failure."""

    def __init__(self) -> None:
        self._until = 0.0
        self._why = ""

    def note(self, why: str) -> None:
        """The service failed just now."""
        self._until, self._why = time.monotonic() + OUTAGE_SECONDS, why

    def reason(self) -> str:
        """Why nobody is asked now; empty when somebody may be asked."""
        return self._why if time.monotonic() < self._until else ""


def wants_documentation(selection: Mapping[str, Any] | None) -> bool:
    """Whether an agent has chosen any library."""
    return selection is not None and selection.get("bundleId", "none") != "none" and bool(selection.get("libraries"))


def library_names(selection: Mapping[str, Any] | None) -> list[str]:
    """The libraries of a selection as people read them."""
    libraries = (selection or {}).get("libraries") or ()
    return [str(library.get("libraryName") or library.get("libraryId")) for library in libraries]


def event_of(result: Prefetched) -> tuple[str, str] | None:
    """(level, text) of the launcher event, None for an agent without a bundle. Spec: PROV 5.6."""
    if result.mode == "none" or result.selection is None:
        return None
    bundle = result.selection["bundleId"]
    if result.attached:
        names = ", ".join(library_names(result.selection)) or "none"
        return "info", f"Context7 bundle {bundle} attached ({result.mode}); libraries={names}"
    return "warn", f"Context7 bundle {bundle} not attached ({result.mode}): {result.warning}"


def prefetch(
    selection: JsonObject | None,
    settings: Settings,
    *,
    enabled: bool = True,
    dry_run: bool = False,
    environ: Mapping[str, str] | None = None,
    outage: Outage | None = None,
    now: float | None = None,
) -> Prefetched:
    """The documentation of one selection, from the cache or fetched; never raises WaveError. Spec: PROV 5.5."""
    if selection is None or not wants_documentation(selection):
        return Prefetched("none", selection)
    if dry_run:
        return Prefetched("dry-run", selection, warning="Context7 prefetch is skipped in a dry run.")
    if not enabled:
        return Prefetched("disabled", selection, warning="Context7 prefetch is switched off (--no-context7).")
    moment = time.time() if now is None else now
    path = os.path.join(settings.cache_dir, f"{cache_key(selection)}.json")
    entry = _cached(path, moment, FRESH_SECONDS)
    if entry is not None:
        return Prefetched("cached", selection, *entry)
    why = outage.reason() if outage else ""
    if why:
        return _failed(selection, path, moment, f"not asked again after an outage: {why}")
    try:
        return _fetch(selection, settings, os.environ if environ is None else environ, path, moment)
    except NoKey as error:
        return Prefetched("missing-key", selection, warning=str(error))
    except WaveError as error:
        if outage is not None and getattr(error, "outage", False):
            outage.note(str(error))
        return _failed(selection, path, moment, str(error))


def cache_key(selection: Mapping[str, Any]) -> str:
    """SHA-256 of what the answer depends on. Spec: PROV 5.5."""
    keys = ("bundleId", "query", "libraries", "indexHash")
    return sha256_text(compact_json({key: selection.get(key) for key in keys}))


def _failed(selection: JsonObject, path: str, now: float, why: str) -> Prefetched:
    text = compact(redact(why), 500)
    stale = _cached(path, now, KEPT_SECONDS)
    if stale is not None:
        return Prefetched("cached", selection, *stale, warning=f"stale documentation from the cache: {text}")
    return Prefetched("error", selection, warning=text)


def _cached(path: str, now: float, limit: float) -> tuple[str, str] | None:
    """(text, hash) of an entry not older than `limit` seconds; a malformed one is a miss."""
    try:
        entry = read_json(path).value
    except WaveError:
        return None
    if not isinstance(entry, dict):
        return None
    text, digest, created = entry.get("promptText"), entry.get("snippetHash"), parse_iso(entry.get("createdAt"))
    if not isinstance(text, str) or not text or created is None or not 0 <= now - created + 60 <= limit + 60:
        return None
    return (text, digest) if digest == sha256_text(text) else None


def _store(path: str, text: str, digest: str, now: float) -> None:
    write_json(path, {"createdAt": iso_of(now), "promptText": text, "snippetHash": digest}, durable=False)
    folder = os.path.dirname(path)
    for name in os.listdir(folder):
        old = os.path.join(folder, name)
        try:
            if name.endswith(".json") and now - os.stat(old).st_mtime > KEPT_SECONDS:
                remove(old)
        except OSError:
            continue


# --- fetching ---------------------------------------------------------------------------------------------------------


class Route(NamedTuple):
    """One way to the documentation. `what` begins error texts."""

    mode: str
    what: str
    search_url: str
    context_url: str
    token: str
    allow_insecure: bool


class RequestError(WaveError):
    """A library could not be fetched; `outage` when asking again soon is useless."""

    def __init__(self, what: str, outage: bool = False) -> None:
        super().__init__(what)
        self.outage = outage


def direct_route(settings: Settings, environ: Mapping[str, str]) -> Route:
    """Context7 itself. Raises NoKey."""
    block = settings.context7
    name = block["apiKeyEnvVar"]
    key = runtime.resolve_env_value([name], environ)
    if not key:
        raise NoKey(f"Context7 has no key: set {name}")
    base = str(block["baseUrl"]).rstrip("/")
    insecure = bool(block.get("allowInsecureHttp"))
    return Route("fetched", "Context7 request", f"{base}/libs/search", f"{base}/context", key, insecure)


def broker_route(settings: Settings, environ: Mapping[str, str]) -> Route:
    """The owned service in front of it. Raises ProviderUnavailable."""
    service = runtime.owned_service(settings.control, environ)
    base = f"{service.endpoint}/providers/context7"
    what = "Context7 broker request"
    return Route("fetched-broker", what, f"{base}/search", f"{base}/context", service.token, service.allow_insecure)


def lookup_route(settings: Settings, environ: Mapping[str, str]) -> Route:
    """The route that the mode prefers: the broker where there is one, else direct. Raises NoKey, WaveError."""
    mode = settings.context7["mode"]
    if mode != "direct":
        try:
            return broker_route(settings, environ)
        except WaveError:
            if mode == "broker":
                raise
    return direct_route(settings, environ)


def check_library(route: Route, library: JsonObject) -> str:
    """Why a pinned library cannot be had; empty when it can. Spec: PROV 5.6."""
    from ..base.http_json import Budget

    asked = {**library, "queryHint": library.get("queryHint") or "overview"}
    try:
        snippet = _library_snippet(route, asked, "", Budget(60))
    except RequestError as error:
        return str(error)
    return "" if snippet.text else "the answer held no text"


class _Routes:
    """The routes of one prefetch: the one in use, and the one that takes over for good when it fails."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings, self._environ = settings, environ
        self.failure = ""  # why the broker was given up
        self._dead_end: RequestError | None = None  # why nobody is left to ask
        mode = settings.context7["mode"]
        self._may_fall_back = mode == "hybrid"
        if mode == "direct":
            self.current = direct_route(settings, environ)
            return
        try:
            self.current = broker_route(settings, environ)
        except WaveError as error:
            if not self._may_fall_back:
                raise
            self.fall_back(error)

    def fall_back(self, error: WaveError) -> None:
        """Go on directly; raises an error that names both when that is impossible. Spec: PROV 5.5 (hybrid)."""
        self.failure, self._may_fall_back = str(error), False
        try:
            self.current = direct_route(self._settings, self._environ)
        except WaveError as direct:
            outage = bool(getattr(error, "outage", False))
            self._dead_end = RequestError(f"broker: {error}; direct: {direct}", outage)
            raise self._dead_end from None

    def library(self, library: JsonObject, query: str, budget: Budget) -> Snippet:
        """One library's snippet. Raises RequestError."""
        if self._dead_end is not None:
            raise self._dead_end
        try:
            return _library_snippet(self.current, library, query, budget)
        except RequestError as error:
            if not self._may_fall_back:
                if self.failure:
                    raise RequestError(f"broker: {self.failure}; direct: {error}", error.outage) from None
                raise
            self.fall_back(error)
        return self.library(library, query, budget)


class Snippet(NamedTuple):
    """One library's documentation before it is cut to the budget."""

    label: str
    library_id: str
    query: str
    text: str


def _fetch(
    selection: JsonObject, settings: Settings, environ: Mapping[str, str], path: str, now: float
) -> Prefetched:
    from ..base.http_json import Budget

    routes = _Routes(settings, environ)
    budget = Budget(PREFETCH_SECONDS)
    found: list[Snippet] = []
    failures: list[RequestError] = []
    for library in selection["libraries"]:
        try:
            found.append(routes.library(library, selection.get("query") or "", budget))
        except RequestError as error:
            failures.append(error)
            if error.outage:
                break  # the next library would wait for the same failure
    if not found:
        raise RequestError("; ".join(dict.fromkeys(map(str, failures))), any(error.outage for error in failures))
    warnings = [f"the broker failed, asked directly: {routes.failure}"] if routes.failure else []
    warnings += [str(error) for error in failures]
    missing = len(selection["libraries"]) - len(found) - len(failures)
    if missing:
        warnings.append(f"{missing} more libraries were not asked")
    warning = compact(redact("; ".join(warnings)), 500)
    text = render([snippet for snippet in found if snippet.text])
    if not text:
        return Prefetched("empty", selection, warning=warning or "Context7 answered without any text.")
    digest = sha256_text(text)
    if not failures:
        try:
            _store(path, text, digest, now)
        except WaveError as error:
            warning = warning or f"not cached: {error}"
    return Prefetched(routes.current.mode, selection, text, digest, warning)


def _library_snippet(route: Route, library: JsonObject, query: str, budget: Budget) -> Snippet:
    name, hint = library.get("libraryName") or "", library.get("queryHint") or ""
    library_id = library.get("libraryId") or ""
    if not library_id:
        library_id = _found_id(route, name, query or hint or name, budget)
    label = name or library_id
    focus = compact(". Focus: ".join(part for part in (query, hint) if part), 320) or label
    parameters = urlencode({"libraryId": library_id, "query": focus, "type": "txt"})
    answer = _ask(route, f"{route.context_url}?{parameters}", "text/plain, application/json", budget)
    return Snippet(label, library_id, focus, _CONTROL.sub("", answer).strip())


def _found_id(route: Route, name: str, query: str, budget: Budget) -> str:
    """The id of a library that is known by name only. Spec: PROV 5.5, per library 1."""
    import json

    url = f"{route.search_url}?{urlencode({'libraryName': name, 'query': query})}"
    try:
        answer = json.loads(_ask(route, url, "application/json", budget))
    except (ValueError, RecursionError):
        raise RequestError(f"{route.what} failed: the search answer is not JSON") from None
    entries = answer.get("results") if isinstance(answer, dict) else answer
    rows = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    same = [row for row in rows if name.lower() in (str(row.get(key) or "").lower() for key in ("name", "title"))]
    best = (same or rows or [{}])[0].get("id")
    if not isinstance(best, str) or not best.strip():
        raise RequestError(f"{route.what} failed: no library is called {compact(name, 80)}")
    return best.strip()


def _ask(route: Route, url: str, accept: str, budget: Budget) -> str:
    """The body of a GET. A 202 means "not ready": it is tried again and in the end an error. Raises RequestError."""
    from ..base.http_json import Call, HttpError, Retries

    retries = Retries(base_delay=1.0, max_delay=8.0)
    call = Call(
        route.what, "GET", url, route.token, accept, timeout=REQUEST_SECONDS, max_bytes=MAX_TEXT,
        allow_insecure=route.allow_insecure, retries=retries,
    )  # fmt: skip
    try:
        return _ready_answer(call, budget)
    except HttpError as error:
        raise RequestError(str(error), error.outage) from None


def _ready_answer(call: Call, budget: Budget) -> str:
    from ..base.http_json import STATUS, HttpError, send, text_of

    for tries in range(call.retries.attempts):
        answer = send(call, budget)
        if answer.status != 202:
            return text_of(call.what, answer)
        delay = call.retries.base_delay * 2**tries
        if tries + 1 == call.retries.attempts or delay >= budget.left():
            break
        time.sleep(delay)
    raise HttpError(f"{call.what} failed (202): the documentation is not ready", STATUS, 202)


def render(snippets: Sequence[Snippet], budget: int = PROMPT_BUDGET) -> str:
    """The snippets as one text; each may use its share of what is left of the budget. Spec: PROV 5.5."""
    parts: list[str] = []
    left = budget
    for index, snippet in enumerate(snippets):
        separator = 2 if parts else 0
        share = (left - separator) // (len(snippets) - index)
        head = f"### {snippet.label}\n- Library ID: {snippet.library_id}\n- Query: {snippet.query}\n\n"
        part = head + snippet.text
        if len(part) > share:
            part = part[: max(share - len(TRUNCATED) - 1, 0)].rstrip() + f"\n{TRUNCATED}"
        parts.append(part)
        left -= len(part) + separator
    return "\n\n".join(parts)
