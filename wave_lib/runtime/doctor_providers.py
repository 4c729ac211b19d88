"""Doctor's checks of services outside: brokers, tokens, leases, `.env.local`. No request is sent.

Holds:       for an instant a `git ls-files`.
Writes:      nothing.
When killed: nothing is lost.

Spec: PROV 2.1, 3.5.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..base.env_file import ALLOWED
from ..base.http_json import is_loopback
from ..providers.provider_runtime import control_token_names, endpoint_class
from .doctor_findings import ERROR, WARNING, Finding, Findings

if TYPE_CHECKING:
    from .doctor_scope import LaneView, Workspace


def has_value(names: list[str], environ: Any) -> bool:
    """Whether any of the variables holds a token. Spec: PROV 2.2."""
    return any(environ.get(name, "").strip() for name in names)


def broker_endpoint(view: LaneView) -> Findings:
    """A broker needs a service of one's own."""
    for name, mode in _brokered(view):
        if endpoint_class(view.profile.wave_control.get("endpoint")) != "owned":
            text = f"{name} mode {mode} needs an owned waveControl.endpoint, and none is set"
            yield Finding(text, severity=ERROR if mode == "broker" else WARNING)


def broker_token(view: LaneView) -> Findings:
    """A broker needs a token."""
    for name, mode in _brokered(view):
        names = control_token_names(view.profile.wave_control)
        if not has_value(names, os.environ):
            text = f"{name} mode {mode} needs a Wave Control token: set {' or '.join(names)}"
            yield Finding(text, severity=ERROR if mode == "broker" else WARNING)


def leases(view: LaneView) -> Findings:
    """Credential leases need an owned service and a token."""
    control = view.profile.wave_control
    wanted = [key for key in ("credentialProviders", "credentials") if control.get(key)]
    if not wanted:
        return
    if endpoint_class(control.get("endpoint")) != "owned":
        yield Finding(f"waveControl.{wanted[0]} needs an owned waveControl.endpoint, and none is set")
    names = control_token_names(control)
    if not has_value(names, os.environ):
        yield Finding(f"waveControl.{wanted[0]} needs a token: set {' or '.join(names)}")


def corridor_token(view: LaneView) -> Findings:
    """Corridor asked directly needs its token."""
    corridor = view.profile.external_providers["corridor"]
    names = [corridor["apiTokenEnvVar"], corridor["apiKeyFallbackEnvVar"]]
    if corridor["enabled"] and corridor["mode"] == "direct" and not has_value(names, os.environ):
        severity = ERROR if corridor["requiredAtClosure"] else WARNING
        yield Finding(f"Corridor is enabled and has no token: set {' or '.join(names)}", severity=severity)


def insecure_endpoint(view: LaneView) -> Findings:
    """Plain http to another host would show tokens to everyone on the way."""
    providers, control = view.profile.external_providers, view.profile.wave_control
    corridor, context7 = providers["corridor"], providers["context7"]
    places = [("waveControl.endpoint", control.get("endpoint"), control)]
    places.append(("externalProviders.context7.baseUrl", context7["baseUrl"], context7))
    if corridor["enabled"]:
        places.append(("externalProviders.corridor.baseUrl", corridor["baseUrl"], corridor))
    for name, url, block in places:
        parts = urlsplit(url or "")
        plain = parts.scheme.lower() == "http" and not is_loopback(parts.hostname or "")
        if plain and not block.get("allowInsecureHttp"):
            yield Finding(f"{name} is plain http to {parts.hostname}; use https, or set allowInsecureHttp")


def library_ids(view: LaneView) -> Findings:
    """A library without an id is looked up by name, which may find another one."""
    for bundle_id, bundle in (view.references.bundles.bundles if view.references.bundles else {}).items():
        nameless = [library["libraryName"] for library in bundle["libraries"] if not library["libraryId"]]
        if nameless:
            text = f'Context7 bundle "{bundle_id}": no libraryId for {", ".join(nameless)}'
            yield Finding(text, view.profile.paths.context7_bundle_index_path)


def token_variables(view: LaneView) -> Findings:
    """A token variable of one's own naming cannot come from `.env.local`."""
    providers, control = view.profile.external_providers, view.profile.wave_control
    corridor = providers["corridor"]
    used = [(f"waveControl: {name}", name) for name in control_token_names(control) if control.get("endpoint")]
    used.append(("context7.apiKeyEnvVar", providers["context7"]["apiKeyEnvVar"]))
    if corridor["enabled"]:
        used += [(f"corridor.{key}", corridor[key]) for key in ("apiTokenEnvVar", "apiKeyFallbackEnvVar")]
    for place, name in used:
        if name not in ALLOWED and not has_value([name], os.environ):
            yield Finding(f"{place} names the variable {name}, which is unset and cannot come from .env.local")


def env_file_mode(workspace: Workspace) -> Findings:
    """Tokens are for the owner alone."""
    try:
        mode = os.stat(os.path.join(workspace.root, ".env.local")).st_mode
    except OSError:
        return
    if mode & 0o044:
        yield Finding(".env.local can be read by other users; run chmod 600 .env.local", ".env.local")


def env_file_tracked(workspace: Workspace) -> Findings:
    """Tokens do not belong in a repository."""
    import shutil
    import subprocess

    from ..base.errors import SpawnError
    from ..base.processes import spawn

    git = shutil.which("git")
    if git is None or not os.path.exists(os.path.join(workspace.root, ".env.local")):
        return
    try:
        child = spawn([git, "ls-files", "--error-unmatch", ".env.local"], cwd=workspace.root)
    except SpawnError:
        return
    try:
        tracked = child.wait(timeout=10) == 0
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return
    if tracked:
        yield Finding(".env.local is tracked by git; run git rm --cached .env.local", ".env.local")


def _brokered(view: LaneView) -> list[tuple[str, str]]:
    """`(provider, mode)` of every provider in use that asks the broker."""
    providers = view.profile.external_providers
    corridor = providers["corridor"]
    used = [("Context7", providers["context7"]["mode"])]
    if corridor["enabled"]:
        used.append(("Corridor", corridor["mode"]))
    return [(name, mode) for name, mode in used if mode in ("broker", "hybrid")]
