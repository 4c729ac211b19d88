"""Who is asking: bearer tokens, scopes and grants. Spec: PROV 10.4."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple

from .accounts import PROVIDERS, owner_of_token
from .api import ApiError

if TYPE_CHECKING:
    from .settings import ServerSettings
    from .store import Store

SERVICE, STATIC, PAT, ANONYMOUS = "service-token", "env-token", "pat", "anonymous"
PUBLIC, READ = "public", "read"


class Principal(NamedTuple):
    """Who is asking. `user_id` is there for personal access tokens only; `label` is safe to log."""

    kind: str
    label: str
    scopes: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    user_id: str | None = None


NOBODY = Principal(ANONYMOUS, "-")


def token_hash(token: str) -> str:
    """What is stored and compared in place of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class Authenticator:
    """Knows the configured tokens as hashes; every one is compared, whichever matches, so that time tells nothing."""

    def __init__(self, settings: ServerSettings, store: Store) -> None:
        self._store = store
        self._public_reads = not settings.auth_for_reads
        self._known: list[tuple[str, Principal]] = []
        for entry in settings.service_tokens:
            self._known.append((token_hash(entry.token), Principal(SERVICE, entry.label, entry.scopes)))
        for number, token in enumerate(settings.static_tokens, 1):
            self._known.append((token_hash(token), Principal(STATIC, f"env-{number}", ("*",), PROVIDERS)))

    def principal(self, header: str | None) -> Principal:
        """Who sent this `Authorization` header; ANONYMOUS without one. Raises ApiError for a token nobody knows."""
        if header is None or not header.strip():
            return NOBODY
        scheme, _, token = header.strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthorized("The Authorization header must be a bearer token.")
        digest = token_hash(token)
        found: Principal | None = None
        for known, principal in self._known:
            if hmac.compare_digest(digest, known) and found is None:
                found = principal
        if found is not None:
            return found
        owned = owner_of_token(self._store, digest)
        if owned is None:
            raise unauthorized("The token is unknown or revoked.")
        record, user = owned
        if user["accessState"] != "approved":
            raise ApiError("owner-not-approved", "The owner of this token has no access.")
        return Principal(PAT, record["id"], tuple(record["scopes"]), tuple(user["providerGrants"]), user["id"])

    def require(self, principal: Principal, scope: str) -> None:
        """Raises ApiError unless the principal may use a route of this scope."""
        if scope == PUBLIC:
            return
        if principal.kind == ANONYMOUS:
            if scope == READ and self._public_reads:
                return
            raise unauthorized("A bearer token is required.")
        if scope == READ:
            return
        if scope.startswith("service:") and principal.kind != SERVICE:
            raise ApiError("service-token-required", "This route needs a service token.")
        if scope not in principal.scopes and "*" not in principal.scopes:
            raise ApiError("insufficient-scope", f"This route needs the scope {scope}.")


def unauthorized(sentence: str) -> ApiError:
    """401 with the challenge that RFC 6750 asks for."""
    return ApiError("unauthorized", sentence, {"WWW-Authenticate": "Bearer"})
