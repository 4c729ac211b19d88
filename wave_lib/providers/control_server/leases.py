"""Handing out provider keys and mounted credentials; every lease is audited, never with a value. Spec: PROV 10.9.

Holds:       nothing between requests: a rotated credential counts at the next lease.
Writes:      the audit log.
When killed: a lease that was not answered is asked for again.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ...base.redaction import register_secret
from ...base.timestamps import iso_of
from ..provider_runtime import PROVIDER_VARIABLES
from .accounts import PROVIDERS, audit
from .api import ApiError, Request, Response, body_object, text_list
from .auth import PAT

if TYPE_CHECKING:
    JsonObject = dict[str, Any]

CREDENTIAL_ID, ENV_NAME = "[a-z0-9][a-z0-9._-]*", "[A-Z_][A-Z0-9_]*"
_LARGEST = 65536


def provider_env(request: Request) -> Response:
    """`POST /runtime/provider-env`: keys of providers, all or nothing."""
    wanted = text_list(body_object(request).get("providers"), "providers", most=20)
    if not wanted:
        raise ApiError("invalid-body", "providers must not be empty.")
    broker, env = request.app.settings.broker, {}
    for provider in dict.fromkeys(item.lower() for item in wanted):
        if provider not in PROVIDERS:
            raise ApiError("provider-unknown", f"Known providers: {', '.join(PROVIDERS)}.")
        if provider not in request.principal.grants:
            raise ApiError("provider-grant-missing", f"The owner of this token has no grant for {provider}.")
        if provider not in PROVIDER_VARIABLES:
            raise ApiError("provider-broker-only", f"{provider} is brokered; its key is never handed out.")
        key = broker.provider_keys.get(provider, "")
        if not broker.owned or not key:
            raise ApiError("provider-disabled", f"{provider} is not enabled here.")
        env[PROVIDER_VARIABLES[provider]] = key
    providers = list(dict.fromkeys(item.lower() for item in wanted))
    _audit(request, "provider-env-leased", {"providers": providers})
    return Response({"ok": True, "providers": providers, "env": env})


def credential_env(request: Request) -> Response:
    """`POST /runtime/credential-env`: credentials of the token's owner, all or nothing."""
    if request.principal.kind != PAT or request.principal.user_id is None:
        raise ApiError("owner-required", "Credentials belong to a person: use a personal access token.")
    asked = _asked(body_object(request).get("credentials"))
    folder = request.app.settings.credentials_dir
    if folder is None:
        raise ApiError("credential-store-unavailable", "No credentials are mounted here.")
    env = {entry["envVar"]: read_credential(folder, request.principal.user_id, entry["id"]) for entry in asked}
    _audit(request, "credential-env-leased", {"credentials": [entry["id"] for entry in asked]})
    return Response({"ok": True, "credentials": asked, "env": env})


def _asked(value: object) -> list[JsonObject]:
    if not isinstance(value, list) or not value or len(value) > 100:
        raise ApiError("invalid-body", "credentials must be a list of {id, envVar}.")
    found: list[JsonObject] = []
    for item in value:
        entry = item if isinstance(item, dict) else {}
        name, variable = entry.get("id"), entry.get("envVar")
        if not isinstance(name, str) or re.fullmatch(CREDENTIAL_ID, name) is None:
            raise ApiError("invalid-body", f"A credential id must match {CREDENTIAL_ID}.")
        if not isinstance(variable, str) or re.fullmatch(ENV_NAME, variable) is None:
            raise ApiError("invalid-body", f"envVar must match {ENV_NAME}.")
        if any(variable == other["envVar"] for other in found):
            raise ApiError("invalid-body", f"envVar {variable} is asked for twice.")
        found.append({"id": name, "envVar": variable})
    return found


def read_credential(folder: str, user_id: str, credential_id: str) -> str:
    """One mounted secret without its final newline. Raises ApiError; a symlink may not leave the folder."""
    missing = ApiError("credential-not-found", f"There is no credential {credential_id} for this owner.")
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", user_id) is None:
        raise missing
    top = os.path.realpath(folder)
    # The mounts of Kubernetes are symlinks to a folder beside them, so it is the mount that must not be left.
    path = os.path.realpath(os.path.join(top, user_id, credential_id))
    if not path.startswith(top + os.sep) or not os.path.isfile(path):
        raise missing
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 2)
    except OSError:
        raise missing from None
    data = data[:-2] if data.endswith(b"\r\n") else data[:-1] if data.endswith(b"\n") else data
    try:
        value = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError("credential-store-unavailable", "A mounted credential is no text.") from None
    if not 1 <= len(data) <= _LARGEST or "\0" in value:
        raise ApiError("credential-store-unavailable", "A mounted credential is empty, too large or no text.")
    register_secret(value)
    return value


def list_credentials(folder: str | None, user_id: str | None = None) -> list[JsonObject]:
    """What is mounted, by name and file time, never a value."""
    found: list[JsonObject] = []
    for owner in _names(folder) if folder else []:
        if user_id is not None and owner != user_id:
            continue
        for name in _names(os.path.join(str(folder), owner)):
            path = os.path.join(str(folder), owner, name)
            if re.fullmatch(CREDENTIAL_ID, name) and os.path.isfile(path):
                found.append({"appUserId": owner, "credentialId": name, "updatedAt": iso_of(os.stat(path).st_mtime)})
    return found


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _audit(request: Request, event_type: str, payload: JsonObject) -> None:
    principal = request.principal
    subject = ("user", principal.user_id) if principal.user_id else ("principal", principal.label)
    with request.app.store.writing() as db:
        audit(db, (principal.kind, principal.label), event_type, subject, payload)
