"""Tokens, endpoints and their classes, credential leases. Spec: PROV 2.2, 2.3, 6."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from ..base.errors import ConfigError, WaveError
from ..base.redaction import register_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    JsonObject = dict[str, Any]

PUBLIC_HOST = "wave-control.up.railway.app"
LEASE_TIMEOUT_SECONDS = 10.0
LEASE_BUDGET_SECONDS = 30.0
PROVIDER_VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Which variable a leased provider key arrives in."""


class ProviderUnavailable(WaveError):
    """A provider cannot be asked as configured: no endpoint of one's own, no token, no ids."""

    default_key = "provider-unavailable"


def resolve_env_value(names: Iterable[str], environ: Mapping[str, str]) -> str:
    """The first non-empty value of the variables, "" when there is none; it is registered as a secret. PROV 2.2.

    Raises ConfigError, which names the variable and never the value, for a token that cannot stand in a header.
    """
    for name in names:
        value = environ.get(name, "").strip()
        if value:
            if any(char.isspace() or not char.isprintable() or ord(char) > 126 for char in value):
                raise ConfigError("the token holds a blank or a control character", name, "set it again")
            register_secret(value)
            return value
    return ""


def control_token_names(control: Mapping[str, Any]) -> list[str]:
    """The variables that may hold the Wave Control token, in order."""
    names = control.get("authTokenEnvVars")
    return list(names or (control.get("authTokenEnvVar") or "WAVE_API_TOKEN", "WAVE_CONTROL_AUTH_TOKEN"))


def control_token(control: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """The Wave Control token, "" when none is set."""
    return resolve_env_value(control_token_names(control), environ)


def normalize_endpoint(raw: str | None) -> str | None:
    """The base URL of a Wave Control service, such as `https://host/api/v1`. Raises ConfigError. Spec: PROV 2.3."""
    text = (raw or "").strip()
    if not text:
        return None
    try:
        parts = urlsplit(text)
        good = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "not an absolute http or https URL without user, query and fragment", "waveControl.endpoint",
            "give something like https://wave.example.com",
        )  # fmt: skip
    path = parts.path.rstrip("/")
    if path.endswith("/ingest/batches"):
        path = path[: -len("/ingest/batches")].rstrip("/")
    return f"{parts.scheme.lower()}://{parts.netloc}{path or '/api/v1'}"


def endpoint_class(endpoint: str | None) -> str:
    """`none`, `public-default` (the service the Node package ships) or `owned`; by host. Spec: PROV 2.3."""
    if not (endpoint or "").strip():
        return "none"
    try:
        host = (urlsplit(str(endpoint)).hostname or "").lower().rstrip(".")
    except ValueError:
        return "owned"
    return "public-default" if host == PUBLIC_HOST else "owned"


class OwnedService(NamedTuple):
    """Where brokers and leases are asked: base URL and token."""

    endpoint: str
    token: str
    allow_insecure: bool


def owned_service(control: Mapping[str, Any], environ: Mapping[str, str]) -> OwnedService:
    """The owned Wave Control service of a lane. Raises ProviderUnavailable when it cannot broker. Spec: PROV 4.7."""
    endpoint = normalize_endpoint(control.get("endpoint"))
    kind = endpoint_class(endpoint)
    if endpoint is None or kind != "owned":
        why = "none is configured" if kind == "none" else "the public service brokers nothing"
        raise ProviderUnavailable(f"the broker needs an owned waveControl.endpoint: {why}")
    token = control_token(control, environ)
    if not token:
        names = " or ".join(control_token_names(control))
        raise ProviderUnavailable(f"the broker needs a Wave Control token: set {names}")
    return OwnedService(endpoint, token, bool(control.get("allowInsecureHttp")))


# --- credential leases ------------------------------------------------------------------------------------------------


class LeaseError(WaveError):
    """An agent cannot be given its credentials. `status_code` is the agent's. Spec: PROV 6.2."""

    default_key = "credential-lease"

    def __init__(self, what: str, status_code: str) -> None:
        super().__init__(what, key=status_code)
        self.status_code = status_code


class Leases(NamedTuple):
    """Leased variables (name to value) and warnings about what was not asked for."""

    values: dict[str, str] = {}
    warnings: tuple[str, ...] = ()


def wants_leases(control: Mapping[str, Any]) -> bool:
    """Whether the lane leases anything."""
    return bool(control.get("credentialProviders") or control.get("credentials"))


def leased_names(control: Mapping[str, Any]) -> list[str]:
    """The variables that a lease will set, in configured order."""
    providers = [PROVIDER_VARIABLES[name] for name in control.get("credentialProviders") or ()]
    return providers + [str(entry["envVar"]) for entry in control.get("credentials") or ()]


def lease_credentials(control: Mapping[str, Any], environ: Mapping[str, str]) -> Leases:
    """Ask for every configured provider key and credential; all or nothing. Raises LeaseError. Spec: PROV 6."""
    from ..base.http_json import Budget, Call, HttpError, send_json

    if not wants_leases(control):
        return Leases()
    try:
        service = owned_service(control, environ)
    except WaveError as error:
        raise LeaseError(f"Credential lease: {error}", "credential-lease-unavailable") from None
    budget = Budget(LEASE_BUDGET_SECONDS)
    values: dict[str, str] = {}
    warnings: list[str] = []
    for path, body, expected in _lease_requests(control):
        call = Call(
            "Credential lease", "POST", f"{service.endpoint}/runtime/{path}", service.token, body=body,
            timeout=LEASE_TIMEOUT_SECONDS, allow_insecure=service.allow_insecure,
        )  # fmt: skip
        try:
            answer = send_json(call, budget)
        except HttpError as error:
            code = "credential-lease-invalid" if error.kind == "malformed" else "credential-lease-failed"
            raise LeaseError(str(error), code) from None
        found = _checked_lease(answer, expected)
        for name in found:
            if name in values:
                raise LeaseError(f"Credential lease: {name} was delivered twice", "credential-lease-invalid")
        values.update(found)
        extra = sorted(str(name) for name in set(answer["env"]) - set(expected))
        if extra:
            warnings.append(f"Credential lease: {len(extra)} variable(s) that nobody asked for were ignored")
    return Leases(values, tuple(warnings))


def _lease_requests(control: Mapping[str, Any]) -> list[tuple[str, JsonObject, list[str]]]:
    """`(route, body, expected names)` of each request. Spec: PROV 6.1."""
    requests: list[tuple[str, JsonObject, list[str]]] = []
    providers = list(control.get("credentialProviders") or ())
    if providers:
        requests.append(("provider-env", {"providers": providers}, [PROVIDER_VARIABLES[name] for name in providers]))
    credentials = [{"id": entry["id"], "envVar": entry["envVar"]} for entry in control.get("credentials") or ()]
    if credentials:
        names = [entry["envVar"] for entry in credentials]
        requests.append(("credential-env", {"credentials": credentials}, names))
    return requests


def _checked_lease(answer: object, expected: list[str]) -> dict[str, str]:
    """The expected values of an answer. Raises LeaseError; no text holds a value. Spec: PROV 6.2."""
    env = answer.get("env") if isinstance(answer, dict) else None
    if not isinstance(env, dict):
        raise LeaseError("Credential lease: the answer has no `env` object", "credential-lease-invalid")
    found: dict[str, str] = {}
    for name in expected:
        value = env.get(name)
        if not isinstance(value, str) or not value or "\0" in value:
            raise LeaseError(f"Credential lease: {name} is missing or no text", "credential-lease-invalid")
        register_secret(value)
        found[name] = value
    return found
