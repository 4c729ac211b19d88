"""Doctor's checks of services outside: brokers, tokens, leases, `.env.local`. No request is sent.

Holds:       for an instant a `git ls-files`.
Writes:      nothing.
When killed: nothing is lost.

Spec: PROV 2.1, 3.5.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..base.env_file import ALLOWED
from ..base.errors import ConfigError
from ..base.http_json import is_loopback
from ..providers.context7 import wants_documentation
from ..providers.provider_runtime import control_token_names, endpoint_class, resolve_env_value
from .doctor_findings import ERROR, WARNING, Finding, Findings

if TYPE_CHECKING:
    from .doctor_scope import LaneView, Workspace


def has_value(names: list[str], environ: Any) -> bool:
    """Whether any of the variables holds a token. Spec: PROV 2.2."""
    return any(environ.get(name, "").strip() for name in names)


def broker_endpoint(view: LaneView) -> Findings:
    """A broker needs a service of one's own."""
    for name, mode in _brokered(view):
        missing = _missing_service(view)
        if missing:
            text = f"{name} mode {mode} needs an owned waveControl.endpoint, and {missing}"
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
    missing = _missing_service(view)
    if missing:
        yield Finding(f"waveControl.{wanted[0]} needs an owned waveControl.endpoint, and {missing}")
    names = control_token_names(control)
    if not has_value(names, os.environ):
        yield Finding(f"waveControl.{wanted[0]} needs a token: set {' or '.join(names)}")


def corridor_token(view: LaneView) -> Findings:
    """Corridor asked directly needs its token."""
    corridor = view.profile.external_providers["corridor"]
    names = _corridor_variables(corridor)
    if corridor["enabled"] and corridor["mode"] == "direct" and not has_value(names, os.environ):
        severity = ERROR if corridor["requiredAtClosure"] else WARNING
        yield Finding(f"Corridor is enabled and has no token: set {' or '.join(names)}", severity=severity)


def invalid_tokens(view: LaneView) -> Findings:
    """A token that could not stand in a header is never sent. Spec: PROV 2.2."""
    providers, control = view.profile.external_providers, view.profile.wave_control
    corridor, context7 = providers["corridor"], providers["context7"]
    used = [control_token_names(control)] if control.get("endpoint") else []
    used += [[context7["apiKeyEnvVar"]]] if context7["mode"] != "broker" else []
    used += [_corridor_variables(corridor)] if corridor["enabled"] and corridor["mode"] != "broker" else []
    for names in used:
        try:
            resolve_env_value(names, os.environ)
        except ConfigError as error:
            yield Finding(str(error))


def telemetry(view: LaneView) -> Findings:
    """What becomes of telemetry is worth knowing in any case. Spec: PROV 8.1."""
    control = view.profile.wave_control
    endpoint = control.get("endpoint")
    if not control.get("enabled", True) or control.get("reportMode") == "disabled":
        although = ", although waveControl.endpoint is set" if endpoint else ""
        yield Finding(f"telemetry is off{although}: nothing is recorded or sent")
    elif not endpoint:
        yield Finding("telemetry stays on this machine: no waveControl.endpoint is set, nothing is sent")
    else:
        yield Finding(f"telemetry goes to {endpoint} ({control.get('reportMode')})")
        names = control_token_names(control)
        if not has_value(names, os.environ):
            text = f"telemetry goes to {endpoint} without a token: set {' or '.join(names)}"
            yield Finding(text, severity=WARNING)


def fallbacks(view: LaneView) -> Findings:
    """Hybrid mode asks the provider itself when the broker fails; that needs a set-up of its own."""
    corridor = view.profile.external_providers["corridor"]
    if not corridor["enabled"] or corridor["mode"] != "hybrid":
        return
    missing = [f"corridor.{key}" for key in ("teamId", "projectId") if not corridor.get(key)]
    variables = _corridor_variables(corridor)
    missing += [] if has_value(variables, os.environ) else [" or ".join(variables)]
    if missing:
        yield Finding(f"Corridor cannot be asked directly when the broker fails: set {', '.join(missing)}")


def context7_key(view: LaneView) -> Findings:
    """Agents that chose documentation are launched without it when there is no key."""
    block = view.profile.external_providers["context7"]
    if block["mode"] == "broker" or has_value([block["apiKeyEnvVar"]], os.environ):
        return
    waves = [judged.wave for judged in view.waves if not judged.completed]
    chosen = [
        f"wave {wave.wave} {agent.agent_id}"
        for wave in waves
        for agent in wave.agents
        if wants_documentation(agent.context7_resolved)
    ]
    if chosen:
        more = f" and {len(chosen) - 3} more" if len(chosen) > 3 else ""
        who = f"{', '.join(chosen[:3])}{more}"
        if block["mode"] == "direct":
            yield Finding(f"Context7 has no key, prompts go without documentation ({who}): set {block['apiKeyEnvVar']}")
        else:
            yield Finding(f"Context7 cannot be asked directly when the broker fails: set {block['apiKeyEnvVar']}")


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
        odd = [library["libraryId"] for library in bundle["libraries"] if not _is_library_id(library["libraryId"])]
        if odd:
            text = f'Context7 bundle "{bundle_id}": not of the form /owner/library: {", ".join(odd)}'
            yield Finding(text, view.profile.paths.context7_bundle_index_path)


def _is_library_id(library_id: str | None) -> bool:
    return not library_id or re.fullmatch(r"/[^/\s]+(/[^/\s]+){1,3}", library_id) is not None


def token_variables(view: LaneView) -> Findings:
    """A token variable of one's own naming cannot come from `.env.local`."""
    providers, control = view.profile.external_providers, view.profile.wave_control
    corridor = providers["corridor"]
    used = [(f"waveControl: {name}", name) for name in control_token_names(control) if control.get("endpoint")]
    if providers["context7"]["mode"] != "broker":
        used.append(("context7.apiKeyEnvVar", providers["context7"]["apiKeyEnvVar"]))
    if corridor["enabled"] and corridor["mode"] != "broker":
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
    if stat.S_ISREG(mode) and mode & 0o044:
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


def _corridor_variables(corridor: Any) -> list[str]:
    return [corridor["apiTokenEnvVar"], corridor["apiKeyFallbackEnvVar"]]


def _missing_service(view: LaneView) -> str:
    """What is wrong with the endpoint as a broker; empty for an owned one."""
    kind = endpoint_class(view.profile.wave_control.get("endpoint"))
    return {"none": "none is set", "public-default": "the public service brokers nothing"}.get(kind, "")


def _brokered(view: LaneView) -> list[tuple[str, str]]:
    """`(provider, mode)` of every provider in use that asks the broker."""
    providers = view.profile.external_providers
    corridor = providers["corridor"]
    used = [("Context7", providers["context7"]["mode"])]
    if corridor["enabled"]:
        used.append(("Corridor", corridor["mode"]))
    return [(name, mode) for name, mode in used if mode in ("broker", "hybrid")]
