"""The environment an executor sees: the launcher's own, less secrets and traces of the orchestrator, plus what is set.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: SUP 16.3, 17.2; PROV 6.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

TOKEN_VARIABLES = (
    "WAVE_API_TOKEN",
    "WAVE_API_TOKENS",
    "WAVE_CONTROL_AUTH_TOKEN",
    "WAVE_CONTROL_API_TOKEN",
    "WAVE_CONTROL_API_TOKENS",
    "WAVE_CONTROL_SERVICE_TOKENS_JSON",
    "CONTEXT7_API_KEY",
    "CORRIDOR_API_TOKEN",
    "CORRIDOR_API_KEY",
)
"""Default names of the orchestrator's own secrets; configured names come on top."""

_OWN_PREFIXES = ("WAVE_SUPERVISOR_",)
_OWN_NAMES = frozenset({"WAVE_SUPPRESS_UPDATE_NOTICE", "TMUX", "TMUX_PANE"})
_ALLOWED_NAMES = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR", "TZ", "no_proxy"})
_ALLOWED_FORMS = re.compile(r"LC_.+|SSL_CERT_.+|.+_PROXY|.+_proxy")
_SECRET_FORM = re.compile(r".*_(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)\Z")
_NOT_STICKY = re.compile(r"[^A-Za-z0-9:_-]")


def environment_settings(*blocks: object) -> dict[str, Any]:
    """`executors.env` of the lane with those of profile and agent on top: lists union, `set` by key. Spec: SUP 17.2."""
    merged: dict[str, Any] = {"mode": "inherit", "pass": [], "strip": [], "set": {}}
    for block in blocks:
        if not isinstance(block, Mapping):
            continue
        merged["mode"] = block.get("mode") or merged["mode"]
        for key in ("pass", "strip"):
            merged[key] = list(dict.fromkeys([*merged[key], *(block.get(key) or ())]))
        merged["set"] = {**merged["set"], **(block.get("set") or {})}
    return merged


def stripped_names(
    environ: Iterable[str], settings: Mapping[str, Any], tokens: Iterable[str] = (), passed: Iterable[str] = ()
) -> list[str]:
    """Names of `environ` that the executor does not get, sorted.

    `tokens`: configured names of the orchestrator's own secrets; `passed`: names that are handed on although they are
    such (`waveControl.passEnvVars`); `settings`: see `environment_settings`.
    """
    secrets = {*TOKEN_VARIABLES, *tokens}
    handed_on = {*passed, *(settings.get("pass") or ())}
    allowlist = settings.get("mode") == "allowlist"
    strip = set(settings.get("strip") or ())

    def goes(name: str) -> bool:
        if name in strip or name in _OWN_NAMES or name.startswith(_OWN_PREFIXES):
            return True
        if name in handed_on:
            return False
        if name in secrets or name.startswith("WAVE_BROKER_"):
            return True
        return allowlist and name not in _ALLOWED_NAMES and not _ALLOWED_FORMS.fullmatch(name)

    return sorted(name for name in environ if goes(name))


def sticky_key(lane: str, wave: object, attempt: object, agent_id: str) -> str:
    """The value of LPM_AUTH_STICKY_KEY: `wave:<lane>:<wave>:<attempt>:<agent>`. Spec: SUP 16.3."""
    parts = (("lane", lane), ("wave", wave), ("attempt", attempt), ("agent", agent_id))
    return ":".join(["wave", *(_NOT_STICKY.sub("-", str(value)) if str(value) else name for name, value in parts)])


def looks_secret(name: str) -> bool:
    """Whether a variable of this name is redacted wherever an environment is shown. Spec: PROV 6.3."""
    return _SECRET_FORM.fullmatch(name) is not None
